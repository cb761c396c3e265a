package supervisor

import (
	"strings"
	"testing"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

func TestTheAdministratorsWishIsUnderstood(t *testing.T) {
	tests := []struct {
		text    string
		mode    ha.Mode
		quorum  int
		problem string
	}{
		{"", ha.Sync, 0, ""},
		{"*", ha.Sync, 1, ""},
		{"ANY 1 (*)", ha.Sync, 1, ""},
		{"FIRST 2 (h1, H2, h3, elsewhere)", ha.Sync, 2, ""},
		{"ANY 1 (h2)", ha.Sync, 0, "it leaves out h3"},
		{"ANY 1 (h2", ha.Sync, 0, "does not end in )"},
		{"ANY 1 (*)", ha.Strict, 0, "rep_mode=strict waits for every standby"},
		{"ANY 1 (*)", ha.Async, 0, ""},
	}
	for _, tt := range tests {
		w := understand(tt.text, tt.mode, []string{"h2", "h3"})
		if w.text != tt.text || w.quorum != tt.quorum || (w.problem == "") != (tt.problem == "") || !strings.Contains(w.problem, tt.problem) || w.first != (w.quorum > 0 && !strings.HasPrefix(tt.text, "ANY")) {
			t.Errorf("%s in %s mode: %+v", tt.text, tt.mode, w)
		}
	}
}

func TestWhatIsSparedIsReadFromTheSettingInForce(t *testing.T) {
	for setting, want := range map[string]int{
		"": 0, pg.All([]string{"h2"}, 0).String(): 0, pg.All([]string{"h2", "h3"}, 0).String(): 0, pg.All([]string{"h2", "h3"}, 1).String(): 1,
		"nonsense (": 0,
	} {
		s := supervising(ha.Primary, "h2", "h3")
		s.seen.look.Synchronous = setting
		if got := s.spared(); got != want {
			t.Errorf("%s: %d", setting, got)
		}
	}
}

func TestUntilTheWishIsKnownNothingChanges(t *testing.T) {
	s := supervising(ha.Primary, "h2", "h3")
	s.view.Spare = 1
	s.seen.look.Synchronous = pg.All([]string{"h2", "h3"}, 1).String()
	s.streams("h2", 11)
	s.streams("h3", 12)
	if f := s.facts(); f.Quorum != 1 || f.Spared != 1 || f.Spare != 1 {
		t.Errorf("quorum %d, spared %d, on record %d", f.Quorum, f.Spared, f.Spare)
	}
	s.wish = understand("", ha.Sync, nil)
	if f := s.facts(); f.Quorum != 0 {
		t.Errorf("quorum %d, and nobody wants one", f.Quorum)
	}
}

func TestAProblemWithTheWishIsAWarning(t *testing.T) {
	s := supervising(ha.Primary, "h2")
	s.wish.problem = "it is not followed"
	if got := strings.Join(s.state().Warnings, "; "); !strings.Contains(got, s.wish.problem) {
		t.Errorf("warnings: %s", got)
	}
}

func TestACandidateThatGetsNothingIsStuck(t *testing.T) {
	a := advance{at: time.Now()}
	if a.stuck(5) {
		t.Error("at once")
	}
	a.at = time.Now().Add(-ha.CatchUpPatience)
	if !a.stuck(5) {
		t.Error("not after its time")
	}
	if a.stuck(6) {
		t.Error("although it gets on")
	}
}
