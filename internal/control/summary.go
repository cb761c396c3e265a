package control

import (
	"fmt"
	"strconv"
	"strings"

	"pgtwin/internal/ha"
)

// Summary is what a host lets the others know of its instance, in a node
// attribute of the cluster's: for display, not for decisions.
type Summary struct {
	Role     ha.Role
	Phase    Phase
	Timeline ha.Timeline
	Runtime  string
	Progress int // percent of long work, in steps of 10 to spare the cluster; 0: begun, or not known
}

// SummaryAttribute is the name of the node attribute that holds the Summary.
func SummaryAttribute(instance string) string { return "pgtwin-" + instance + "-status" }

// Summary is the state for the other hosts.
func (st State) Summary() Summary {
	s := Summary{Role: st.Role, Phase: st.Phase, Timeline: st.Timeline, Runtime: st.Runtime}
	if p := st.Progress; p != nil && p.Total > 0 {
		s.Progress = p.Percent() / 10 * 10
	}
	return s
}

// String is the form in which the summary is published, for example
// "role=down phase=cloning timeline=4 runtime=podman progress=40".
func (s Summary) String() string {
	text := fmt.Sprintf("role=%s phase=%s timeline=%d runtime=%s", s.Role, s.Phase, s.Timeline, s.Runtime)
	if s.Progress > 0 {
		text += fmt.Sprintf(" progress=%d", s.Progress)
	}
	return text
}

// ParseSummary reads what String wrote. What it does not know, of a newer
// pgtwin, it leaves alone; ok is false where the role is not among it.
func ParseSummary(text string) (s Summary, ok bool) {
	for field := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(field, "=")
		number, _ := strconv.ParseUint(value, 10, 32) // 0, not known, for what is no number
		switch key {
		case "role":
			s.Role = ha.Role(value)
		case "phase":
			s.Phase = Phase(value)
		case "timeline":
			s.Timeline = ha.Timeline(number)
		case "runtime":
			s.Runtime = value
		case "progress":
			s.Progress = int(number)
		}
	}
	switch s.Role {
	case ha.Primary, ha.Standby, ha.Down, ha.Unknown:
		return s, true
	}
	return Summary{}, false
}
