package exporter

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"pgtwin/internal/control"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMetrics(t *testing.T) {
	tests := []struct {
		golden string
		st     control.State
	}{
		{"primary", onPrimary()},
		{"standby", onStandby()},
		{"cloning", cloning()},
		{"stale", with(onPrimary(), func(st *control.State) { st.Updated = now.Add(-time.Minute) })},
	}
	for _, test := range tests {
		t.Run(test.golden, func(t *testing.T) {
			w := ask(serving(t, test.st), "GET", "/metrics")
			if w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			got := w.Body.Bytes()
			compare(t, filepath.Join("testdata", test.golden+".prom"), got)
			problems, err := promlint.New(bytes.NewReader(got)).Lint()
			if err != nil || len(problems) > 0 {
				t.Errorf("against the conventions of Prometheus: %v %v", problems, err)
			}
		})
	}
}

func TestMetricsWithoutAStatusFileSayDown(t *testing.T) {
	w := ask(Handler(filepath.Join(t.TempDir(), "status.json")), "GET", "/metrics")
	const want = "# HELP pgtwin_up Whether PostgreSQL runs and answers, as of a fresh report of the supervisor.\n# TYPE pgtwin_up gauge\npgtwin_up 0\n"
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func compare(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", golden, got)
	}
}
