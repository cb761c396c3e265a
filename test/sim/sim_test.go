package sim

import (
	"flag"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgtwin/internal/ha"
)

var (
	seedFlag     = flag.Uint64("sim.seed", 0, "replay this seed alone")
	firstFlag    = flag.Uint64("sim.first", 1, "begin with this seed")
	configFlag   = flag.String("sim.config", "", "simulate this configuration alone")
	stepsFlag    = flag.Int64("sim.steps", 0, "how many steps in all (default 10 million)")
	durationFlag = flag.Duration("sim.duration", 0, "search for this long in all, instead of a number of steps")
)

// configs are the clusters that are simulated.
func configs() []Config {
	return []Config{
		{Name: "two-sync", Hosts: 2, Mode: ha.Sync, Fencing: true},
		{Name: "three-sync", Hosts: 3, Mode: ha.Sync, Fencing: true},
		{Name: "two-strict", Hosts: 2, Mode: ha.Strict, Fencing: true},
		{Name: "three-strict", Hosts: 3, Mode: ha.Strict, Fencing: true},
		{Name: "three-any-1", Hosts: 3, Mode: ha.Sync, Fencing: true, Quorum: 1},
		{Name: "four-any-2", Hosts: 4, Mode: ha.Sync, Fencing: true, Quorum: 2},
		{Name: "four-any-1", Hosts: 4, Mode: ha.Sync, Fencing: true, Quorum: 1},
		{Name: "two-async", Hosts: 2, Mode: ha.Async, Fencing: true},
		{Name: "three-async", Hosts: 3, Mode: ha.Async, Fencing: true},
		{Name: "two-sync-without-fencing", Hosts: 2, Mode: ha.Sync},
	}
}

func configured(name string) Config {
	all := configs()
	return all[slices.IndexFunc(all, func(c Config) bool { return c.Name == name })]
}

func drawn(cfg Config, seed uint64) Run { return Run{cfg, seed, Schedule(cfg, seed)} }

// TestRandomFaults searches for a schedule that breaks an invariant. The long
// mode: go test ./test/sim -run RandomFaults -timeout 0 -sim.duration 8h
// -sim.first 1000000
func TestRandomFaults(t *testing.T) {
	chosen := slices.DeleteFunc(configs(), func(c Config) bool { return *configFlag != "" && c.Name != *configFlag })
	steps := *stepsFlag
	if steps == 0 {
		steps = 10_000_000
	}
	for _, cfg := range chosen {
		t.Run(cfg.Name, func(t *testing.T) {
			if *seedFlag > 0 {
				report(t, drawn(cfg, *seedFlag))
				return
			}
			share := budget{steps / int64(len(chosen)), *durationFlag / time.Duration(len(chosen))}
			if found := search(t, cfg, share); found != nil {
				report(t, *found)
			}
		})
	}
}

// budget is how long to search: for a number of steps, or for a time.
type budget struct {
	steps int64
	time  time.Duration
}

// search runs seed after seed on every processor, until one fails.
func search(t *testing.T, cfg Config, b budget) *Run {
	var seeds atomic.Uint64
	var steps, commits, promotions atomic.Int64
	var failing atomic.Pointer[Run]
	began := time.Now()
	seeds.Store(*firstFlag)
	more := func() bool {
		if b.time > 0 {
			return time.Since(began) < b.time
		}
		return steps.Load() < b.steps
	}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for failing.Load() == nil && more() {
				run := drawn(cfg, seeds.Add(1)-1)
				r := simulate(run, realCore(), false)
				steps.Add(int64(r.Steps))
				commits.Add(int64(r.Commits))
				promotions.Add(int64(r.Promotions))
				if r.Violation != nil {
					failing.Store(&run)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d runs, %d steps, %d commits acknowledged, %d promotions in %s", seeds.Load()-*firstFlag, steps.Load(),
		commits.Load(), promotions.Load(), time.Since(began).Round(ms))
	return failing.Load()
}

// report replays a run and, if it fails, says how and with how little.
func report(t *testing.T, r Run) {
	t.Helper()
	broken := simulate(r, realCore(), false).Violation
	if broken == nil {
		t.Logf("%s, seed %d: in good order", r.Config, r.Seed)
		return
	}
	small := shrink(r, realCore(), broken.Invariant)
	again := simulate(small, realCore(), true)
	tail := again.Trace[max(0, len(again.Trace)-120):]
	t.Errorf("%v\nreplay: go test ./test/sim -run 'RandomFaults/^%s$' -sim.seed %d\nwith fewer faults: %v\n%s\n\n%s",
		broken, r.Config, r.Seed, again.Violation, literal(small.Faults), strings.Join(tail, "\n"))
}

func TestReplayIsExact(t *testing.T) {
	for _, cfg := range configs() {
		for seed := range uint64(20) {
			once := simulate(drawn(cfg, seed), realCore(), true)
			again := simulate(drawn(cfg, seed), realCore(), true)
			silent := simulate(drawn(cfg, seed), realCore(), false)
			if !slices.Equal(once.Trace, again.Trace) || once.Steps != again.Steps {
				t.Fatalf("%s, seed %d: two runs differ", cfg, seed)
			}
			if once.Steps != silent.Steps || once.Commits != silent.Commits {
				t.Fatalf("%s, seed %d: a trace changes the run", cfg, seed)
			}
		}
	}
}

func TestAFailingScheduleIsMadeSmaller(t *testing.T) {
	c := realCore()
	c.recordNever = true
	r := drawn(configured("two-sync"), 1)
	small := shrink(r, c, "4")
	if len(small.Faults) != 0 {
		t.Errorf("this needs no fault at all:\n%s", literal(small.Faults))
	}
}
