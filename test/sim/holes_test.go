package sim

import (
	"slices"
	"testing"
)

// hole is a weakness that is known. With its option, or with a schedule that
// aims at it, the simulator has to find it. One that is not found any more is
// closed: then it goes from the list, and its option from Config.
type hole struct {
	name   string
	config string
	opens  func(*Config)
	broken []string

	schedule func(Config, uint64) []Fault
}

func holes() []hole {
	return []hole{
		{"what is configured on a cut-off host outvotes the records of the others", "two-sync",
			func(c *Config) { c.StrayCommands = true }, []string{"1", "3", "4"}, Schedule},
		{"two promotions have the same number, and the one that failed outvotes the other", "two-sync",
			func(c *Config) { c.StrayPromotions = true }, []string{"1", "2", "3", "4"}, afterAFailedMove},
	}
}

func TestKnownHoles(t *testing.T) {
	for _, h := range holes() {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			cfg := configured(h.config)
			h.opens(&cfg)
			for seed := uint64(1); seed <= enough; seed++ {
				run := Run{cfg, seed, h.schedule(cfg, seed)}
				v := simulate(run, realCore(), false).Violation
				if v == nil {
					continue
				}
				if !slices.Contains(h.broken, v.Invariant) {
					t.Errorf("not by %v", h.broken)
				}
				t.Logf("seed %d: %v", seed, v)
				t.Logf("\n%s", literal(shrink(run, realCore(), v.Invariant).Faults))
				return
			}
			t.Errorf("not found in %d runs: closed?", enough)
		})
	}
}
