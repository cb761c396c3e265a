package exporter

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// metrics serves the state as Prometheus metrics. It answers 200 whatever the
// state is, or there would be no metric to raise an alert from; pgtwin_up is 0
// where the state is not to be relied on, and what depends on it is left out.
func metrics(s source) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{s})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// collector reads the status file at every scrape.
type collector struct{ source }

// Describe sends nothing: which metrics there are depends on the state.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends what the status file holds.
func (c collector) Collect(out chan<- prometheus.Metric) {
	r := c.read()
	up := gauge("up", "Whether PostgreSQL runs and answers, as of a fresh report of the supervisor.")
	up.send(out, truth(r.err == nil && running(r.state)))
	if r.found {
		gauge("status_age_seconds", "Time since the supervisor's last report.").send(out, r.age.Seconds())
	}
	if r.err != nil {
		return
	}
	collectCluster(out, r.state)
	collectPhase(out, r.state)
	collectPostgres(out, r.state)
	collectLag(out, r.state)
}

func collectCluster(out chan<- prometheus.Metric, st control.State) {
	gauge("in_sync", "Whether the cluster has this node on record as holding every acknowledged commit.").send(out, truth(st.InSync))
	gauge("promotion_score", "Promotion score of this node; -1000000 forbids a promotion.").send(out, float64(st.Score))
	gauge("quorate", "Whether this node's part of the cluster has quorum.").send(out, truth(st.Quorate))
	gauge("fencing", "Whether the cluster can fence a node.").send(out, truth(st.Fencing))
	if st.Epoch != nil {
		gauge("epoch", "Number of promotions on record in the cluster.").send(out, float64(st.Epoch.Number))
	}
	gauge("warnings", "Number of warnings that pgtwin status shows.").send(out, float64(len(st.Warnings)))
	crashes := family("crashes_total", "Times that PostgreSQL died without being told to.", prometheus.CounterValue)
	crashes.send(out, float64(st.Crashes))
}

func collectPhase(out chan<- prometheus.Metric, st control.State) {
	role := gauge("role", "Role of PostgreSQL on this node: 1 for the one it has.", "role")
	for _, r := range []ha.Role{ha.Primary, ha.Standby, ha.Down, ha.Unknown} {
		role.send(out, truth(st.Role == r), string(r))
	}
	phase := gauge("phase", "What the activation of the database is doing: 1 for the phase it is in.", "phase")
	for _, p := range []control.Phase{
		control.PhaseStopped, control.PhaseChecking, control.PhaseWaiting, control.PhaseInit, control.PhaseRewinding,
		control.PhaseCloning, control.PhaseStarting, control.PhaseRunning, control.PhaseFailed,
	} {
		phase.send(out, truth(st.Phase == p), string(p))
	}
	if st.Progress != nil && st.Progress.Total > 0 {
		done := float64(st.Progress.Done) / float64(st.Progress.Total)
		gauge("progress_ratio", "Part of the phase that is done, from 0 to 1, where it is known.").send(out, min(done, 1))
	}
}

func collectPostgres(out chan<- prometheus.Metric, st control.State) {
	if !running(st) {
		return
	}
	gauge("timeline", "Timeline of PostgreSQL.").send(out, float64(st.Timeline))
	gauge("wal_lsn_bytes", "Position in the write-ahead log: written on a primary, received or replayed on a standby.").send(out, float64(st.LSN))
}

// collectLag sends what a primary sees of its standbys, or what a standby knows
// of itself; the label is the standby's node in both cases.
func collectLag(out chan<- prometheus.Metric, st control.State) {
	lag := gauge("replication_lag_bytes", "Write-ahead log that the standby has not replayed.", "standby")
	for _, s := range st.Standbys {
		lag.send(out, float64(s.LagBytes), s.Node)
	}
	if st.Role == ha.Standby {
		lag.send(out, float64(st.LagBytes), st.Node)
		gauge("replay_lag_seconds", "Age of the last transaction replayed while behind.").send(out, st.LagSeconds)
	}
}

// metric is a family of metrics that share a name.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) metric {
	return family(name, help, prometheus.GaugeValue, labels...)
}

func family(name, help string, kind prometheus.ValueType, labels ...string) metric {
	return metric{prometheus.NewDesc("pgtwin_"+name, help, labels, nil), kind}
}

func (m metric) send(out chan<- prometheus.Metric, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

func truth(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
