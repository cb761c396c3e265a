package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Sample is a write that a host acknowledged: at some moment between Sent and Received it took writes.
type Sample struct{ Sent, Received time.Time }

// Reign is an unbroken row of acknowledged writes on one connection to a host: a server that is demoted ends its
// connections, so from the first sample's answer to the last one's question the host took writes.
type Reign struct {
	Host        string
	First, Last Sample
}

// Overlap says whether two hosts certainly took writes at the same moment. Neighbouring samples alone prove
// nothing: one host may have stopped and the other begun between them.
func Overlap(a, b Reign) bool {
	both := a.First.Received.Before(b.Last.Sent) && b.First.Received.Before(a.Last.Sent) &&
		a.First.Received.Before(a.Last.Sent) && b.First.Received.Before(b.Last.Sent)
	return both || within(a.First, b) || within(b.First, a)
}

// within says whether a single write happened during a reign.
func within(s Sample, r Reign) bool {
	return !s.Sent.Before(r.First.Received) && !s.Received.After(r.Last.Sent)
}

// Overlaps returns an error for the first two reigns of different hosts that overlap.
func Overlaps(reigns []Reign) error {
	for i, a := range reigns {
		for _, b := range reigns[i+1:] {
			if a.Host != b.Host && Overlap(a, b) {
				const clock = "15:04:05.000"
				return fmt.Errorf("two primaries: %s took writes from %s to %s and %s from %s to %s", a.Host,
					a.First.Received.Format(clock), a.Last.Sent.Format(clock),
					b.Host, b.First.Received.Format(clock), b.Last.Sent.Format(clock))
			}
		}
	}
	return nil
}

// Watch tries to write to every host directly, every 20 ms, and so sees who takes writes and when.
type Watch struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	reigns []Reign
}

// StartWatch starts watching the login's hosts, each on its own. Stop ends it.
func StartWatch(ctx context.Context, login Login) *Watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{cancel: cancel}
	for _, host := range login.Hosts {
		own := login
		own.Hosts = []string{host}
		w.running.Go(func() { w.watch(ctx, own, host) })
	}
	return w
}

// Stop ends the watch and returns what it saw.
func (w *Watch) Stop() []Reign {
	w.cancel()
	w.running.Wait()
	return w.reigns
}

func (w *Watch) watch(ctx context.Context, login Login, host string) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	var conn *pgx.Conn
	defer func() { hangUp(conn) }()
	var reign Reign
	defer func() { w.keep(reign) }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if conn == nil {
			if conn, _ = login.connect(ctx, nil); conn == nil { // no server, nothing to see
				pause(ctx)
			}
			continue
		}
		sample, err := probe(ctx, conn, host)
		if err == nil {
			if reign.Host == "" {
				reign = Reign{host, sample, sample}
			}
			reign.Last = sample
			continue
		}
		w.keep(reign)
		reign = Reign{}
		if !errors.Is(err, errStandby) {
			hangUp(conn)
			conn = nil
		}
	}
}

// errStandby is a server that answers and does not take writes.
var errStandby = errors.New("the host takes no writes")

func probe(ctx context.Context, conn *pgx.Conn, host string) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	var standby bool
	if err := conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby); err != nil {
		return Sample{}, err
	}
	if standby {
		return Sample{}, errStandby
	}
	sent := time.Now()
	_, err := conn.Exec(ctx, "insert into probe values ($1)", host)
	return Sample{sent, time.Now()}, err
}

func (w *Watch) keep(r Reign) {
	if r.Host == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reigns = append(w.reigns, r)
}
