package exporter

import (
	"strconv"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// body is the JSON that Patroni answers health checks with, as far as it has a
// meaning here.
type body struct {
	State            string        `json:"state"` // running, or what keeps it from running
	Role             string        `json:"role"`  // primary, replica or unknown
	Started          string        `json:"postmaster_start_time,omitempty"`
	ServerVersion    int           `json:"server_version,omitempty"`
	Timeline         ha.Timeline   `json:"timeline,omitempty"`
	XLog             *xlog         `json:"xlog,omitempty"`
	ReplicationState string        `json:"replication_state,omitempty"` // of a standby: streaming
	SyncStandby      bool          `json:"sync_standby,omitempty"`
	Replication      []replication `json:"replication,omitempty"` // of a primary
	System           string        `json:"database_system_identifier,omitempty"`
	Owner            owner         `json:"pgtwin,omitzero"`
	Reason           string        `json:"reason,omitempty"` // why the state is unknown
}

// xlog holds positions in bytes, the first on a primary and the others on a
// standby.
type xlog struct {
	Location uint64 `json:"location,omitempty"`
	Received uint64 `json:"received_location,omitempty"`
	Replayed uint64 `json:"replayed_location,omitempty"`
}

type replication struct {
	ApplicationName string `json:"application_name"` // the standby's node
	State           string `json:"state"`
	SyncState       string `json:"sync_state"`
}

type owner struct {
	Instance string `json:"instance"`
	Node     string `json:"node"`
}

func describe(r reading) body {
	if r.err != nil {
		return body{State: "unknown", Role: "unknown", Reason: r.err.Error()}
	}
	st := r.state
	b := body{State: stateName(st), Role: roleName(st.Role), Owner: owner{st.Instance, st.Node}}
	if !running(st) {
		b.Reason = st.Detail
		return b
	}
	b.ServerVersion, b.Timeline, b.System = st.Version, st.Timeline, strconv.FormatUint(st.System, 10)
	if !st.Started.IsZero() {
		b.Started = st.Started.Format(time.RFC3339Nano)
	}
	if st.Role == ha.Primary {
		b.XLog = &xlog{Location: uint64(st.LSN)}
		for _, s := range st.Standbys {
			b.Replication = append(b.Replication, replication{s.Node, s.State, s.Sync})
		}
		return b
	}
	b.XLog = &xlog{Received: uint64(st.LSN), Replayed: uint64(st.Replayed)}
	b.SyncStandby = inSync(st, st.LagBytes)
	if st.Receiving {
		b.ReplicationState = "streaming"
	}
	return b
}

func roleName(role ha.Role) string {
	switch role {
	case ha.Primary:
		return "primary"
	case ha.Standby:
		return "replica"
	}
	return "unknown"
}

// stateName is the state in Patroni's words, or in ours where it has none.
func stateName(st control.State) string {
	switch {
	case running(st):
		return "running"
	case st.Role == ha.Unknown:
		return "unknown"
	}
	switch st.Phase {
	case control.PhaseInit:
		return "initializing new cluster"
	case control.PhaseCloning:
		return "creating replica"
	case control.PhaseFailed:
		return "start failed"
	case control.PhaseRunning:
		return "crashed"
	}
	return string(st.Phase)
}
