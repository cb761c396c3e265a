//go:build lab

package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
)

var (
	chaosEvents = flag.Int("events", 20, "how many random events TestChaos plays")
	chaosSeed   = flag.Uint64("seed", 0, "the choice and order of TestChaos' events; 0: other ones each time")
)

// TestChaos plays random events one after the other on one cluster, as in life: each begins with what the one before it left.
func TestChaos(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("to play the same events again: -seed=%d -events=%d", seed, *chaosEvents)
	random := rand.New(rand.NewPCG(seed, 0))
	stories := append(faults(), event.PostmasterKilled, event.Switchover, event.HostPoweredOff, event.SupervisorKilled)

	s := newStage(t, cluster.Options{Containers: true, Notify: true, Tree: tree, Log: t.Output()})
	s.play(scenario{"cold start", coldStart})
	var results []event.Result
	t.Cleanup(func() { publish(t, results) })
	for n := range *chaosEvents {
		e := stories[random.IntN(len(stories))](s.cluster)
		s.play(scenario{fmt.Sprintf("%d %s", n+1, e.Name), func(s *scene) {
			result, err := event.Run(s.Context(), s.c, e, s)
			results = append(results, result)
			if err != nil {
				s.Fatal(err)
			}
		}})
	}
}
