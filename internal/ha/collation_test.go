package ha

import (
	"strings"
	"testing"
)

func TestAStandbyWithChangedCollationsGoesLast(t *testing.T) {
	changed := func(f *Facts) { f.CollationsChanged, f.CollationsAwaited = true, false }
	awaited := func(f *Facts) { f.CollationsAwaited = true }
	fresh := func(f *Facts) { f.Self.Score, f.Self.Scored = Minus, true }
	alone := func(f *Facts) { f.Peers[0].Online, f.Peers[0].Score, f.Peers[0].Scored = false, 0, false }
	keeps := 0 // its score
	tests := []struct {
		name  string
		facts Facts
		want  int
	}{
		{"with the recorded versions", standbyFacts(fresh), EligibleScore},
		{"with others", standbyFacts(changed), ChangedScore},
		{"with others, as the last host", standbyFacts(changed, alone), ChangedScore},
		{"with others, and behind", standbyFacts(changed, func(f *Facts) { f.Self.InSync = 6 }), Minus},
		{"not yet known, beside a complete host", standbyFacts(fresh, awaited), keeps},
		{"not yet known, beside one that is behind", standbyFacts(fresh, awaited, func(f *Facts) { f.Epoch.Node, f.Peers[0].InSync = "h3", 6 }), EligibleScore},
		{"not yet known, as the last host", standbyFacts(fresh, awaited, alone), EligibleScore},
		{"not yet known, of a standby that has a score", memberFacts(awaited, func(f *Facts) { f.Self.Score = LaggingScore }), EligibleScore},
		{"a primary with others goes on", primaryFacts(changed, awaited), keeps},
		{"a member of a quorum with others", memberFacts(changed, h3At(0x8000000)), ChangedScore},
		{"a member of a quorum with others that has less", memberFacts(changed, h3At(0x9000060)), LaggingScore - changedDistance},
		{"a member that waits for the others' answer keeps its score", memberFacts(changed, h3Silent, func(f *Facts) { f.Self.Score = ChangedScore }), keeps},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, why := keeps, ""
			for _, a := range Decide(test.facts) {
				if a.Verb == SetScore {
					got, why = a.Number, a.Why
				}
			}
			if got != test.want {
				t.Errorf("score %d, want %d", got, test.want)
			}
			if lower := got > 0 && got%10 != 0; lower != strings.Contains(why, "a host with the recorded versions goes first") {
				t.Errorf("score %d because %q", got, why)
			}
		})
	}
}

// Of two members of a quorum the one that has most goes first, and a standby with changed collations can
// still be a successor.
func TestCommitsWeighMoreThanCollations(t *testing.T) {
	if !(EligibleScore > ChangedScore && ChangedScore > LaggingScore && LaggingScore > LaggingScore-changedDistance && LaggingScore-changedDistance > HolderScore) {
		t.Error("the scores are in another order")
	}
	f := downFacts(func(f *Facts) { f.Peers[0].Score = ChangedScore })
	if a := Decide(f); len(a) != 1 || a[0].Verb != Yield || a[0].Node != "h2" {
		t.Errorf("a dead primary decides %+v", a)
	}
}
