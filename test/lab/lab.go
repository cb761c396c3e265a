// Package lab boots real hosts on one machine: each is systemd as PID 1 in namespaces of its own, over
// an overlay of a shared root file system, with a network interface on a common bridge. Together they
// are a Pacemaker cluster with true fencing. Tests cut, freeze, power off and boot them at will.
//
// There is one lab per machine at a time, known by fixed names (a state directory, a cgroup, a bridge),
// so that a new run can always clear away what a killed one left. It needs root.
//
// The lab starts helpers (a host's first process, the fencing daemon, the fence agent) as copies of the
// running program under another name; importing this package is all a program has to do for that.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options says what kind of lab to bring up.
type Options struct {
	Hosts   int       // number of hosts; 2 when zero
	Base    string    // Debian release of the hosts: trixie (when empty) or bookworm
	Install string    // a tree laid over / of each host before it boots; may be empty
	Log     io.Writer // progress, a line per step; may be nil

	// FenceDelay is Pacemaker's pcmk_delay_base for fencing the first host: when both hosts want to
	// shoot each other, the first one wins. Zero leaves the race open.
	FenceDelay time.Duration
}

// Lab is a set of hosts that share a network and form one cluster.
type Lab struct {
	state state
	hosts []*Host
}

// state is what the disk keeps about a lab, for later processes.
type state struct {
	Base   string
	RootFS string // shared lower file system of all hosts
	Names  []string
}

// Up clears away an earlier lab, builds the root file system if the cache lacks it, boots the hosts and
// returns when Pacemaker has a DC, every node is online and fencing works. After an error what there is stays,
// for Collect; Clear or the next Up removes it.
func Up(ctx context.Context, o Options) (*Lab, error) {
	o = o.withDefaults()
	lock, err := lockFile(ctx, lockPath)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	o.logf("clearing away an earlier lab")
	if err := clean(ctx); err != nil {
		return nil, fmt.Errorf("cannot clear away the earlier lab: %w", err)
	}
	rootfs, err := rootFS(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cannot provide the root file system: %w", err)
	}
	l := newLab(state{Base: o.Base, RootFS: rootfs, Names: hostNames(o.Hosts)})
	if err := l.start(ctx, o); err != nil {
		return nil, err
	}
	return l, nil
}

// start makes everything the hosts share, boots them all and forms the cluster.
func (l *Lab) start(ctx context.Context, o Options) error {
	if err := l.save(); err != nil {
		return fmt.Errorf("cannot record the lab: %w", err)
	}
	if err := makeBridge(ctx); err != nil {
		return err
	}
	if err := startFencing(ctx); err != nil {
		return err
	}
	o.logf("booting %d hosts", len(l.hosts))
	first := func(h *Host) error {
		seeds, err := l.seeds(h)
		if err != nil {
			return err
		}
		return h.boot(ctx, hostSetup{Seeds: seeds, Install: o.Install})
	}
	if err := l.each(first); err != nil {
		return err
	}
	o.logf("waiting for the cluster")
	return l.formCluster(ctx, o)
}

// Open returns the lab that is up now, started by this or by another process.
func Open() (*Lab, error) {
	data, err := os.ReadFile(statePath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("cannot open the lab: none is up (lab up starts one)")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the lab: %w", err)
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", statePath, err)
	}
	return newLab(s), nil
}

// Down ends the lab and leaves nothing of it behind but the cached root file system.
func (l *Lab) Down(ctx context.Context) error { return Clear(ctx) }

// Clear ends whatever lab is there, complete or not, and is content when there is none.
func Clear(ctx context.Context) error {
	lock, err := lockFile(ctx, lockPath)
	if err != nil {
		return err
	}
	defer lock.Close()
	return clean(ctx)
}

// Hosts returns all hosts in order, running or not.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Host returns the host of that name.
func (l *Lab) Host(name string) (*Host, error) {
	for _, h := range l.hosts {
		if h.name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("cannot find host %q: the lab has %v", name, l.state.Names)
}

// Base returns the Debian release the hosts run.
func (l *Lab) Base() string { return l.state.Base }

// Install copies a tree over / of every running host and has systemd read its units again.
func (l *Lab) Install(ctx context.Context, dir string) error {
	return l.each(func(h *Host) error {
		if !h.Running() {
			return nil
		}
		if err := installTree(ctx, dir, h.Command(ctx, extractArgs...)); err != nil {
			return err
		}
		_, err := h.Run(ctx, "systemctl", "daemon-reload")
		return err
	})
}

// each calls f for all hosts at once and returns when every call has.
func (l *Lab) each(f func(*Host) error) error {
	results := make(chan error)
	for _, h := range l.hosts {
		go func() { results <- f(h) }()
	}
	var failed error
	for range l.hosts {
		failed = errors.Join(failed, <-results)
	}
	return failed
}

func newLab(s state) *Lab {
	l := &Lab{state: s}
	for i, name := range s.Names {
		l.hosts = append(l.hosts, &Host{name: name, number: i + 1, base: s.Base, rootfs: s.RootFS})
	}
	return l
}

func (l *Lab) save() error {
	data, err := json.MarshalIndent(l.state, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(statePath), 0o755); err != nil {
		return err
	}
	return os.WriteFile(statePath, append(data, '\n'), 0o644)
}

func hostNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("h%d", i+1)
	}
	return names
}

func (o Options) withDefaults() Options {
	if o.Hosts == 0 {
		o.Hosts = 2
	}
	if o.Base == "" {
		o.Base = "trixie"
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o
}

// logf writes one line of progress; a reader that has gone is no reason to stop.
func (o Options) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(o.Log, "lab: "+format+"\n", args...)
}
