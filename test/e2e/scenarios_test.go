//go:build lab

package e2e

import (
	"context"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// Times that nothing takes unless something is broken.
const (
	upTime       = 15 * time.Minute // building the root file system included
	settleTime   = 3 * time.Minute
	scenarioTime = 8 * time.Minute
	evidenceTime = time.Minute
)

// scenario is one story, played on a cluster at rest.
type scenario struct {
	name string
	play func(*scene)
}

// TestScenarios plays every scenario with PostgreSQL in podman's containers and then with the hosts' own packages, and the
// most telling ones with docker, each time on a cluster of its own that begins with nothing.
func TestScenarios(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var results []event.Result
	t.Cleanup(func() { publish(t, results) })
	for _, o := range []cluster.Options{
		{Containers: true, Notify: true, Tree: tree, Log: t.Output()},
		{Containers: false, Notify: false, Tree: tree, Log: t.Output()},
	} {
		t.Run(modeName(o), func(t *testing.T) {
			s := newStage(t, o)
			s.play(scenario{"cold start", coldStart})
			s.play(scenario{"units as designed", unitsAsDesigned})
			s.play(scenario{"what is seen from outside", seenFromOutside})
			s.play(scenario{"resource agent", resourceAgent})
			s.play(scenario{"bad input", badInput})
			s.play(scenario{"what it costs", whatItCosts})
			results = append(results, s.events(event.PostmasterKilled, event.Switchover, event.HostPoweredOff, event.SupervisorKilled)...)
			results = append(results, s.events(databases(o.Containers)...)...)
			s.play(scenario{"data not mounted", dataNotMounted})
			if o.Containers {
				results = append(results, s.events(faults()...)...)
				s.play(scenario{"primary lost while the standby is behind", primaryLostWhileBehind})
				s.play(scenario{"strict mode", strictMode})
				s.play(scenario{"disks", disks})
				s.play(scenario{"one writer of synchronous_standby_names", oneWriter})
			} else {
				s.play(scenario{"rewind killed", rewindKilled(1, randomMoments(t))})
			}
			s.play(scenario{"container and host packages", containerAndHostPackages})
		})
	}
	docker := cluster.Options{Containers: true, Runtime: "docker", Tree: tree, Log: t.Output()}
	t.Run(modeName(docker), func(t *testing.T) {
		s := newStage(t, docker)
		s.play(scenario{"cold start", coldStart})
		s.play(scenario{"units as designed", unitsAsDesigned})
		s.play(scenario{"adapters", adapters})
		results = append(results, s.events(event.PostmasterKilled, event.Switchover,
			event.MainProcessKilled, event.ContainerRemoved)...)
	})
}

// rounds is for measurements, and to find what happens seldom: how often everything but the cold start is played.
var rounds = flag.Int("rounds", 1, "play each scenario this often, but the cold start")

// report is for measurements, too: where a summary is written.
var report = flag.String("report", "", "write what the clients saw to this file")

// story is an event that is yet to be told of a cluster.
type story = func(*cluster.Cluster) event.Event

// faults are the events of which one runtime tells enough.
func faults() []story {
	with := func(d lab.Direction, cut func(*cluster.Cluster, lab.Direction) event.Event) story {
		return func(c *cluster.Cluster) event.Event { return cut(c, d) }
	}
	whether := func(is bool, tell func(*cluster.Cluster, bool) event.Event) story {
		return func(c *cluster.Cluster) event.Event { return tell(c, is) }
	}
	return []story{
		event.HostRebooted, event.StandbyRestarted, event.SupervisorRestarted,
		event.BackendKilled, event.DatabaseHung, event.MainProcessKilled, event.ContainerRemoved, event.StandbyKilled,
		event.SupervisorHung, event.BusRestarted, event.ConnectionsExhausted,
		with(lab.Both, event.ReplicationCut), with(lab.In, event.ReplicationCut), with(lab.Out, event.ReplicationCut),
		with(lab.Both, event.MembershipCut), with(lab.In, event.MembershipCut), with(lab.Out, event.MembershipCut), event.PrimaryPreferred, event.HostCut,
		event.StandbyPoweredOff, event.StandbyRebooted, whether(true, event.BothPoweredOff), whether(false, event.BothPoweredOff),
		event.ClusterRestarted, whether(true, event.PacemakerKilled), whether(false, event.PacemakerKilled),
		event.PrimaryOutOfService, event.PacemakerRestarted, event.LaggingSwitchover, event.KilledDuringProbe, event.KilledDuringProbeAlone, event.PromotionKilled,
		event.DemotionKilled, event.StopKilled, event.HelperKilled, event.PodmanKilled, event.PodmanKilledInRewind, event.HelperKilledInRewind, event.SystemPodmanKilled,
	}
}

// databases are the settings, roles and files of databases as people have them. What does not depend on where PostgreSQL
// comes from is played in containers; configuration files outside the data directory are not seen from there.
func databases(containers bool) []story {
	if !containers {
		return []story{event.ConfigurationLinked}
	}
	return []story{
		event.RoleSettings, event.CatalogLocked, event.DatabaseDropped, event.RestoredToATime,
		event.ConnectionsRaised, event.ConnectionsLowered, event.PasswordRotated, event.PromotedByHand,
	}
}

// events plays what clients notice and returns what they noticed.
func (s *stage) events(stories ...story) []event.Result {
	var results []event.Result
	for _, tell := range stories {
		for range *rounds {
			e := tell(s.cluster)
			s.once(scenario{e.Name, func(s *scene) {
				result, err := event.Run(s.Context(), s.c, e, s)
				results = append(results, result)
				if err != nil {
					s.Fatal(err)
				}
			}})
		}
	}
	return results
}

func modeName(o cluster.Options) string {
	switch {
	case o.Runtime != "":
		return o.Runtime
	case o.Containers:
		return "containers"
	}
	return "host packages"
}

// publish prints what the events cost and leaves it for programs.
func publish(t *testing.T, results []event.Result) {
	if len(results) == 0 {
		return
	}
	var table strings.Builder
	if err := event.Table(&table, results); err != nil {
		t.Error(err)
	}
	t.Logf("what the clients saw:\n%s", table.String())
	if err := event.WriteJSON(filepath.Join("evidence", "results.json"), results); err != nil {
		t.Error(err)
	}
	if *report != "" {
		if err := event.WriteReport(*report, results); err != nil {
			t.Error(err)
		}
	}
}

// stage is a cluster on which scenarios are played one after the other.
type stage struct {
	*testing.T
	cluster *cluster.Cluster
	started bool // the database is there
}

func newStage(t *testing.T, o cluster.Options) *stage {
	ctx, cancel := context.WithTimeout(t.Context(), upTime)
	defer cancel()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), evidenceTime)
		defer cancel()
		if err := lab.Clear(ctx); err != nil {
			t.Error(err)
		}
	})
	c, err := cluster.Up(ctx, o)
	if err != nil {
		note(t, err.Error())
		t.Fatal(err)
	}
	return &stage{T: t, cluster: c}
}

// begin is the name of the scenario that comes first and once.
const begin = "cold start"

// play plays a scenario as often as is asked for.
func (s *stage) play(sc scenario) {
	if sc.name == begin {
		s.once(sc)
		return
	}
	for range *rounds {
		s.once(sc)
	}
}

// once puts the cluster to rest, plays a scenario and collects the evidence when it fails. When the cluster does not come to
// rest, there is no sense in going on.
func (s *stage) once(sc scenario) {
	s.Run(sc.name, func(t *testing.T) {
		scene := &scene{T: t, c: s.cluster, began: time.Now()}
		t.Cleanup(func() {
			if t.Failed() {
				scene.collect()
			}
		})
		if sc.name != begin {
			s.prepare(scene)
			scene.began = time.Now()
		}
		sc.play(scene)
		s.started = true
	})
}

// prepare also starts a cluster whose cold start was left out by -run.
func (s *stage) prepare(scene *scene) {
	ctx, cancel := context.WithTimeout(scene.Context(), settleTime)
	defer cancel()
	if !s.started {
		scene.tell(event.ColdStart(s.cluster)...)
		s.started = true
	}
	if err := s.cluster.Settle(ctx); err != nil {
		scene.Fatalf("the scenario did not begin: %v", err)
	}
}

// scene is one scenario being played.
type scene struct {
	*testing.T
	c     *cluster.Cluster
	began time.Time
	noted bool // the failure is on the list
}

// Step and Progress make a scene an event.Observer.
func (s *scene) Step(text string) { s.Logf("%s", text) }

// Progress logs seconds in which a client could not write.
func (s *scene) Progress(p event.Progress) {
	if p.Virtual == 0 || p.Direct == 0 {
		s.Logf("  %3.0f s: %d writes through the virtual address, %d by direct connections", p.Since.Seconds(), p.Virtual, p.Direct)
	}
}

// Slow fails the test in make results, which measures. Elsewhere it only logs, because other programs may have slowed the machine.
func (s *scene) Slow(err error) {
	if *report != "" {
		s.Error(err)
		return
	}
	s.Logf("  slow: %v", err)
}

// tell takes steps; the first that fails ends the scenario.
func (s *scene) tell(steps ...event.Step) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), scenarioTime)
	defer cancel()
	if err := event.Tell(ctx, steps, s); err != nil {
		s.Fatal(err)
	}
}

// step is a step of a scenario.
func step(text string, do func(context.Context) error) event.Step {
	return event.Step{Text: text, Do: do}
}

// hosts returns the hosts by their roles.
func (s *scene) hosts() (primary, standby *lab.Host) {
	s.Helper()
	primary, err := s.c.Primary(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return primary, s.c.Other(primary)
}

func (s *scene) collect() {
	if !s.noted {
		s.note("see the output")
	}
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTime)
	defer cancel()
	dir := filepath.Join("evidence", filepath.FromSlash(strings.TrimPrefix(s.Name(), "TestScenarios/")))
	if err := s.c.Collect(ctx, dir); err != nil {
		s.Log(err)
	}
	story, err := s.account(ctx, s.began)
	if err != nil {
		s.Log(err)
	}
	if story != "" {
		list(s.T, "what happened (seconds, host):\n"+story)
	}
	s.Log("the evidence is in " + dir)
}

func coldStart(s *scene) {
	s.tell(event.ColdStart(s.c)...)
	primary, standby := s.hosts()
	s.tell(step("the two are one cluster, with checksums", func(ctx context.Context) error {
		const question = "select (select system_identifier from pg_control_system()), current_setting('data_checksums')"
		return sameAnswer(ctx, question, "|on", primary, standby)
	}))
}
