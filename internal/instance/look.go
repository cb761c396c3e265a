package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
)

// look gathers what is known before PostgreSQL runs.
func (a *Activation) look(ctx context.Context) (ha.Arrival, error) {
	arrival := ha.Arrival{
		Self:    a.Instance.Node,
		Granted: exists(config.Grant(a.Instance.Name)),
		Forced:  exists(config.AcceptLoss(a.Instance.Name)),
		Demoted: a.ticket.Intent == control.IntentDemote,
		Waited:  time.Since(a.began),
	}
	view, err := a.readCluster(ctx)
	if err != nil {
		return arrival, err
	}
	arrival.Epoch, a.members = view.Epoch, len(view.Nodes)
	for _, node := range view.Nodes {
		if node.Node == a.Instance.Node {
			arrival.InSync = node.InSync
		}
	}
	if err := a.lookAtData(&arrival); err != nil {
		return arrival, err
	}
	arrival.Stuck = a.stuck()
	if err := a.recall(&arrival); err != nil {
		return arrival, err
	}
	if arrival.Epoch.Number > 0 && arrival.Epoch.Node != a.Instance.Node {
		arrival.Primary = a.askPrimary(ctx, arrival.Epoch.Node)
	}
	return arrival, nil
}

// stuck is how far the WAL went when the supervisor found this standby in need
// of what the primary has no more. Without it the supervisor finds out again.
func (a *Activation) stuck() ha.LSN {
	var repairs ha.Repairs
	err := control.ReadJSON(config.RepairsFile(a.Instance.Name), &repairs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.Log.Warn("cannot tell whether this standby was stuck", "error", err)
	}
	return repairs.Stuck
}

// recall goes by the latest epoch that this host has seen, where an older copy
// of the records has replaced the one that had it.
func (a *Activation) recall(arrival *ha.Arrival) error {
	known, err := control.ReadEpoch(config.EpochFile(a.Instance.Name))
	ours := (!arrival.Data || arrival.System == known.System) &&
		(arrival.Epoch.Number == 0 || arrival.Epoch.System == known.System)
	if err == nil && ours && known.Number > arrival.Epoch.Number {
		a.Log.Warn("the record of a promotion is lost", "known", known, "recorded", arrival.Epoch)
		arrival.Epoch, arrival.InSync = known, 0
	}
	return err
}

// readCluster asks until there is an answer: without the recorded epoch
// nothing may be started.
func (a *Activation) readCluster(ctx context.Context) (cluster clusterView, err error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		view, err := a.Cluster.Read(attempt)
		cancel()
		if err == nil {
			return view, nil
		}
		if err := a.report(control.Progress{Phase: control.PhaseWaiting, Detail: "Pacemaker does not answer: " + err.Error()}); err != nil {
			return view, err
		}
		select {
		case <-ctx.Done():
			return view, fmt.Errorf("stopped while waiting for Pacemaker: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (a *Activation) lookAtData(arrival *ha.Arrival) error {
	work, marked, err := storage.Marked(config.MarkerFile(a.Instance.Name))
	if err != nil {
		return err
	}
	arrival.Unsound = marked
	empty, err := pg.IsEmpty(a.Instance.PGData)
	if err != nil {
		return err
	}
	if empty {
		arrival.Missing, err = storage.Unmounted(config.MountFile(a.Instance.Name), a.Instance.PGData)
		return err
	}
	arrival.Data = true
	if arrival.Absent, err = a.absent(); err != nil {
		return err
	}
	if marked {
		a.Log.Debug("the data directory is marked", "work", work)
		return nil
	}
	if err := a.checkData(); err != nil {
		return err
	}
	c, err := pg.ReadControl(a.Instance.PGData)
	if err != nil {
		return err
	}
	arrival.System, arrival.Redo, arrival.Archive = c.System, c.Redo, pg.MayRestore(a.Instance.PGData)
	arrival.Timeline, arrival.Position, arrival.Ended = ending(c)
	if !c.Checksums && !c.WALLogHints {
		arrival.NoRewind = "pg_rewind needs data checksums or wal_log_hints, and the data have neither"
	}
	return nil
}

// absent is the mount point of the first directory outside that is not mounted
// any more.
func (a *Activation) absent() (string, error) {
	links, err := storage.Links(a.Instance.PGData)
	if err != nil {
		return "", err
	}
	for _, l := range links {
		if was, err := storage.UnmountedLink(config.MountFile(a.Instance.Name), l.Dir); was != "" || err != nil {
			return was, err
		}
	}
	return "", nil
}

// ending reads from the control file how the server stopped. A standby's end
// is what it had replayed at least; what it had received beyond is on the
// primary's history, because it came from there.
func ending(c pg.Control) (ha.Timeline, ha.LSN, ha.Ending) {
	switch c.State {
	case pg.ShutDown:
		return c.Timeline, c.Checkpoint, ha.Clean
	case pg.InProduction, pg.InCrashRecovery, pg.ShuttingDown, pg.StartingUp:
		return c.Timeline, c.Checkpoint, ha.Crashed
	}
	if c.MinRecovery > c.Checkpoint {
		return c.MinRecoveryTimeline, c.MinRecovery, ha.Replaying
	}
	return c.Timeline, c.Checkpoint, ha.Replaying
}

// askPrimary asks the recorded primary for its history. nil means that it does
// not answer as a primary, for whatever reason; the reason is logged when it
// changes.
func (a *Activation) askPrimary(ctx context.Context, node string) *ha.Upstream {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	upstream, err := pg.AskPrimary(ctx, a.upstream(node))
	if pg.Refused(err) && a.changeCredential(ctx, node) {
		upstream, err = pg.AskPrimary(ctx, a.upstream(node))
	}
	if err != nil {
		a.Log.Debug("the primary does not answer", "node", node, "error", err)
		return nil
	}
	return &upstream
}

// upstream is how this node reaches PostgreSQL on another.
func (a *Activation) upstream(node string) pg.Target {
	return Upstream(a.Instance, a.credential, node)
}

// Upstream is the connection of instance i to PostgreSQL on node, as the
// replication user. Its name is not that of the standby: the primary must not
// take a running pg_basebackup for it.
func Upstream(i config.Instance, c pg.Credential, node string) pg.Target {
	return pg.Target{
		Host:            Address(i, node),
		Port:            i.Port,
		Major:           majorOf(i),
		User:            c.User,
		Database:        "postgres",
		PassFile:        config.PassFileCopy(i.Name),
		ApplicationName: "pgtwin",
		ConnectTimeout:  2 * time.Second,
	}
}

// Address is where a node's PostgreSQL is reached: the configured address, or
// the node's name. A name that does not resolve is left to the connection to
// complain about.
func Address(i config.Instance, node string) string {
	if address := i.Addresses[node]; address != "" {
		return address
	}
	return node
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// portFree says whether this host can listen on the port.
func portFree(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("cannot listen on port %d: %w: another server uses it", port, errors.Unwrap(err))
	}
	return listener.Close()
}
