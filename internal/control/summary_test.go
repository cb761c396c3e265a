package control

import (
	"testing"

	"pgtwin/internal/ha"
)

func TestSummaryTellsTheOtherHosts(t *testing.T) {
	tests := []struct {
		name  string
		state State
		text  string
	}{
		{"a primary", State{Role: ha.Primary, Phase: PhaseRunning, Timeline: 4, Runtime: "podman"}, "role=primary phase=running timeline=4 runtime=podman"},
		{"a host that clones, in steps of ten", State{Role: ha.Down, Phase: PhaseCloning, Runtime: "docker", Progress: &Progress{Done: 49, Total: 100}},
			"role=down phase=cloning timeline=0 runtime=docker progress=40"},
		{"a copy that grew beyond its estimate", State{Role: ha.Down, Phase: PhaseCloning, Runtime: "host", Progress: &Progress{Done: 120, Total: 100}},
			"role=down phase=cloning timeline=0 runtime=host progress=100"},
		{"progress of which the end is not known", State{Role: ha.Down, Phase: PhaseInit, Runtime: "host", Progress: &Progress{Done: 49}},
			"role=down phase=initdb timeline=0 runtime=host"},
		{"a runtime that is not known yet", State{Role: ha.Down, Phase: PhaseChecking}, "role=down phase=checking timeline=0 runtime="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := test.state.Summary()
			if want.String() != test.text {
				t.Errorf("text is %q, want %q", want, test.text)
			}
			if got, ok := ParseSummary(test.text); !ok || got != want {
				t.Errorf("read back as %+v, %v, want %+v", got, ok, want)
			}
		})
	}
}

func TestASummaryOfAnotherVersion(t *testing.T) {
	want := Summary{Role: ha.Standby, Phase: PhaseRunning, Timeline: 4, Runtime: "podman"}
	if got, ok := ParseSummary("role=standby phase=running timeline=4 runtime=podman colour=red progress=some"); !ok || got != want {
		t.Errorf("got %+v, %v", got, ok)
	}
	for _, text := range []string{"", "phase=running", "role=leader phase=running"} {
		if got, ok := ParseSummary(text); ok || got != (Summary{}) {
			t.Errorf("%q: got %+v, %v", text, got, ok)
		}
	}
}
