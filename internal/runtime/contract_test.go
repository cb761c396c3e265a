package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// subject is a runtime under the contract, with what differs by nature.
type subject struct {
	open      func(t *testing.T, opts Options) Runtime
	image     string // an image that is present, "" on the host
	container bool
}

const (
	owner   = 65534 // nobody; stands for the owner of the data directory
	helpers = 4711  // a supplementary group of the owner's, which no image knows
)

// contract is what every runtime must do.
func contract(t *testing.T, sub subject) {
	cases := []struct {
		name string
		test func(*fixture)
	}{
		{"the database runs as its owner and is visible from the host", databaseRuns},
		{"the database's exit status is reported", databaseExitStatus},
		{"the database survives the end of the runtime", databaseSurvivesClose},
		{"a database that ends at once is reported by Start or by Wait", databaseEndsAtOnce},
		{"wait gives up with its context", waitHeedsContext},
		{"a job's output and exit status are reported", jobOutput},
		{"a job killed by a signal has status 128 plus its number", jobSignal},
		{"a job sees its user, directory, environment and limits", jobSurroundings},
		{"a job dies wholly with its context", jobDiesWholly},
		{"jobs run one after the other under one name", jobsInSequence},
		{"a job and the database run side by side", jobBesideDatabase},
		{"remove kills and may be repeated", removeIsIdempotent},
		{"a running container is found by label and by data directory", runningIsFound},
		{"an image that is not there is ErrImageMissing", imageMissing},
		{"a program that is not there is an error", programMissing},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(newFixture(t, sub)) })
	}
}

// fixture is one runtime with a directory that the owner can write.
type fixture struct {
	*testing.T
	sub  subject
	ctx  context.Context
	dir  string
	opts Options
	rt   Runtime
}

func newFixture(t *testing.T, sub subject) *fixture {
	base, err := os.MkdirTemp("/var/tmp", "pgtwin-runtime-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	must(t, os.Chmod(base, 0o755))
	f := &fixture{T: t, sub: sub, dir: filepath.Join(base, "data")}
	for _, dir := range []string{"data", "state", "bin"} {
		must(t, os.Mkdir(filepath.Join(base, dir), 0o755))
	}
	must(t, os.Chown(f.dir, owner, owner))
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(base, "bin/probe"), self, 0o755))

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	f.ctx = ctx
	f.opts = Options{Instance: "contract", DataDir: f.dir,
		StateDir: filepath.Join(base, "state"), BinDir: filepath.Join(base, "bin")}
	f.rt = sub.open(t, f.opts)
	t.Cleanup(func() { f.rt.Close() })
	return f
}

// spec describes a probe in the container NAME.
func (f *fixture) spec(name string, args ...string) Spec {
	s := Spec{
		Name: name, Argv: append([]string{"probe"}, args...), Env: []string{probeEnv, "PGAPPNAME=contract test"},
		UID: owner, GID: owner, Groups: []uint32{helpers}, ShmSize: 32 << 20, Dir: f.dir,
		Slice: "pgtwin-contract.slice", Unit: "pgtwin@contract.service",
		Mounts: []Mount{
			{Source: f.dir, Target: f.dir},
			{Source: filepath.Join(f.opts.BinDir, "probe"), Target: "/usr/bin/probe", ReadOnly: true},
		},
	}
	if f.sub.container {
		image, err := f.rt.Image(f.ctx, f.sub.image)
		must(f.T, err)
		s.Image = image.ID
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(f.T, f.rt.Remove(ctx, name))
	})
	return s
}

// start starts a database and waits until it is up.
func (f *fixture) start(name string) Started {
	mark := filepath.Join(f.dir, "up")
	started, err := f.rt.Start(f.ctx, f.spec(name, "serve", mark))
	must(f.T, err)
	f.eventually("the database is up", func() bool { _, err := os.Stat(mark); return err == nil })
	must(f.T, os.Remove(mark))
	return started
}

func (f *fixture) eventually(what string, condition func() bool) {
	f.Helper()
	if !f.reaches(condition) {
		f.Fatalf("waited for: %s", what)
	}
}

// reaches waits for a condition; it may be called from any goroutine.
func (f *fixture) reaches(condition func() bool) bool {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-f.ctx.Done():
			return false
		}
	}
	return true
}

func databaseRuns(f *fixture) {
	started := f.start("contract")
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(started.PID), "status"))
	must(f.T, err)
	if id := strconv.Itoa(owner); !strings.Contains(string(status), "Uid:\t"+id+"\t"+id+"\t"+id) {
		f.Errorf("process %d is not the owner's:\n%s", started.PID, status)
	}
	if !slices.Contains(processesIn(f.dir), started.PID) {
		f.Errorf("process %d does not work in %s", started.PID, f.dir)
	}
	if f.rt.Name() == "docker" != (started.MainPID == 0) {
		f.Errorf("%s started with main process %d", f.rt.Name(), started.MainPID)
	}
}

func databaseExitStatus(f *fixture) {
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: 0, syscall.SIGTERM: 7, syscall.SIGKILL: 137} {
		started := f.start("contract")
		must(f.T, syscall.Kill(started.PID, signal))
		exit, err := f.rt.Wait(f.ctx, "contract")
		if err != nil || exit != want {
			f.Errorf("after %v: status %d, %v; want %d", signal, exit, err, want)
		}
		must(f.T, f.rt.Remove(f.ctx, "contract"))
	}
}

func databaseSurvivesClose(f *fixture) {
	started := f.start("contract")
	must(f.T, f.rt.Close())
	if err := syscall.Kill(started.PID, 0); err != nil {
		f.Errorf("process %d: %v", started.PID, err)
	}
	if f.rt.Name() != "host" { // a host's process is known to its own Runtime only
		f.rt = f.sub.open(f.T, f.opts)
	}
}

func databaseEndsAtOnce(f *fixture) {
	_, err := f.rt.Start(f.ctx, f.spec("contract", "say", "3"))
	if err != nil {
		return
	}
	if exit, err := f.rt.Wait(f.ctx, "contract"); err != nil || exit != 3 {
		f.Errorf("neither Start nor Wait reported it: %d, %v", exit, err)
	}
}

func waitHeedsContext(f *fixture) {
	f.start("contract")
	ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := f.rt.Wait(ctx, "contract"); !errors.Is(err, context.DeadlineExceeded) {
		f.Errorf("Wait: %v", err)
	}
}

func jobOutput(f *fixture) {
	for _, want := range []int{0, 1, 42} {
		var output bytes.Buffer
		exit, err := f.rt.Run(f.ctx, f.spec("contract-job", "say", strconv.Itoa(want)), &output)
		if err != nil || exit != want {
			f.Errorf("status %d, %v; want %d", exit, err, want)
		}
		if got := output.String(); got != "to stdout\nto stderr\n" && got != "to stderr\nto stdout\n" {
			f.Errorf("output %q", got)
		}
	}
}

func jobSignal(f *fixture) {
	// SIGKILL to itself does nothing to the first process of a PID namespace
	// (pid_namespaces(7)), so the signal comes from outside, as the OOM killer's does.
	done := make(chan struct{})
	defer func() { <-done }()
	lock := filepath.Join(f.dir, "lock")
	go func() {
		defer close(done)
		f.reaches(func() bool { return len(holders(f)) == 2 })
		for _, pid := range processesIn(f.dir) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	exit, err := f.rt.Run(f.ctx, f.spec("contract-job", "hold", lock), io.Discard)
	if err != nil || exit != 137 {
		f.Errorf("status %d, %v; want 137", exit, err)
	}
}

func jobSurroundings(f *fixture) {
	f.Setenv("NOTIFY_SOCKET", "/nowhere") // as systemd would
	var output bytes.Buffer
	exit, err := f.rt.Run(f.ctx, f.spec("contract-job", "describe"), &output)
	if err != nil || exit != 0 {
		f.Fatalf("status %d, %v: %s", exit, err, output.String())
	}
	var p probed
	must(f.T, json.Unmarshal(output.Bytes(), &p))
	var limit syscall.Rlimit
	must(f.T, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	oom, err := inheritedOOMScoreAdj()
	must(f.T, err)
	checks := []struct {
		what      string
		got, want any
	}{
		{"user", p.UID, owner}, {"group", p.GID, owner}, {"directory", p.Dir, f.dir},
		{"supplementary groups", fmt.Sprint(slices.DeleteFunc(p.Groups, func(g int) bool { return g == owner })), fmt.Sprint([]int{helpers})},
		{"capabilities", p.Capabilities, "0000000000000000"},
		{"variable of the Spec", p.Env["PGAPPNAME"], "contract test"},
		{"NOTIFY_SOCKET", p.Env["NOTIFY_SOCKET"], ""},
		{"process id", p.PID, 1}, {"stdin", p.Stdin, "/dev/null"}, {"name of the user", p.Accounts, "nobody"},
		{"limit of open files", p.NoFile, limit.Max}, {"OOM score", p.OOMScoreAdj, strconv.Itoa(oom)},
		{"root file system writable", p.RootWritable, false}, {"/dev/shm writable", p.ShmWritable, true},
	}
	for _, c := range checks {
		if c.got != c.want {
			f.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

func jobDiesWholly(f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	lock := filepath.Join(f.dir, "lock")
	go func() {
		defer cancel()
		f.reaches(func() bool { return len(holders(f)) == 2 })
	}()
	if _, err := f.rt.Run(ctx, f.spec("contract-job", "hold", lock), io.Discard); !errors.Is(err, context.Canceled) {
		f.Errorf("Run: %v", err)
	}
	file, err := os.OpenFile(lock, os.O_RDWR, 0)
	must(f.T, err)
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Errorf("a process of the job is left, the lock is held: %v", err)
	}
}

// holders lists the marks of the processes that hold the lock.
func holders(f *fixture) []string {
	marks, _ := filepath.Glob(filepath.Join(f.dir, "held-by-*"))
	return marks
}

// processesIn lists the processes whose working directory is dir, in whatever
// mount namespace they are.
func processesIn(dir string) (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if sameDirectory(link, dir) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func sameDirectory(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}

func jobsInSequence(f *fixture) {
	for range 3 {
		if exit, err := f.rt.Run(f.ctx, f.spec("contract-job", "say", "5"), io.Discard); err != nil || exit != 5 {
			f.Fatalf("status %d, %v", exit, err)
		}
	}
	f.start("contract") // and the database after them
}

func jobBesideDatabase(f *fixture) {
	started := f.start("contract")
	if exit, err := f.rt.Run(f.ctx, f.spec("contract-job", "say", "5"), io.Discard); err != nil || exit != 5 {
		f.Errorf("status %d, %v", exit, err)
	}
	if err := syscall.Kill(started.PID, 0); err != nil {
		f.Errorf("the database: %v", err)
	}
}

func removeIsIdempotent(f *fixture) {
	started := f.start("contract")
	for range 3 {
		must(f.T, f.rt.Remove(f.ctx, "contract"))
	}
	f.eventually("the database is gone", func() bool { return syscall.Kill(started.PID, 0) == syscall.ESRCH })
}

func runningIsFound(f *fixture) {
	f.start("contract")
	var want []string
	if f.sub.container {
		want = []string{"contract"}
	}
	byLabel, byDirectory, byNothing := f.opts, f.opts, f.opts
	byLabel.DataDir = "/nowhere"
	byDirectory.Instance = "other"
	byNothing.Instance, byNothing.DataDir = "other", "/nowhere"
	for _, c := range []struct {
		by   string
		opts Options
		want []string
	}{{"label", byLabel, want}, {"data directory", byDirectory, want}, {"nothing", byNothing, nil}} {
		rt := f.sub.open(f.T, c.opts)
		got, err := rt.Running(f.ctx)
		if err != nil || !slices.Equal(got, c.want) {
			f.Errorf("by %s: %q, %v; want %q", c.by, got, err, c.want)
		}
		must(f.T, rt.Close())
	}
}

func imageMissing(f *fixture) {
	const absent = "localhost/pgtwin-no-such-image:1"
	image, err := f.rt.Image(f.ctx, absent)
	if f.sub.container != errors.Is(err, ErrImageMissing) || image != (Image{}) {
		f.Errorf("Image: %v, %v", image, err)
	}
	if !f.sub.container {
		return // that is all the host can say of images
	}
	s := f.spec("contract", "say", "0")
	s.Image = absent
	if _, err := f.rt.Start(f.ctx, s); !errors.Is(err, ErrImageMissing) {
		f.Errorf("Start: %v", err)
	}
	if _, err := f.rt.Run(f.ctx, s, io.Discard); !errors.Is(err, ErrImageMissing) {
		f.Errorf("Run: %v", err)
	}
}

func programMissing(f *fixture) {
	s := f.spec("contract", "say", "0")
	s.Argv = []string{"pgtwin-no-such-program"}
	if _, err := f.rt.Start(f.ctx, s); err == nil || !strings.Contains(err.Error(), s.Argv[0]) {
		f.Errorf("Start: %v", err)
	} else if !f.sub.container && !errors.Is(err, ErrNotInstalled) {
		f.Errorf("Start: %v, want ErrNotInstalled", err)
	}
	if _, err := f.rt.Run(f.ctx, s, io.Discard); err == nil || !strings.Contains(err.Error(), s.Argv[0]) {
		f.Errorf("Run: %v", err)
	}
}

// runsPostgreSQL makes a database, starts it and asks it, with the real programs.
func runsPostgreSQL(f *fixture) {
	data := filepath.Join(f.dir, "pgdata")
	run := func(argv ...string) (string, bool) {
		s := f.spec("contract-job")
		s.Argv, s.Env = argv, nil
		var output bytes.Buffer
		exit, err := f.rt.Run(f.ctx, s, &output)
		must(f.T, err)
		return output.String(), exit == 0
	}
	if output, ok := run("initdb", "-D", data, "-U", "postgres", "--no-sync"); !ok {
		f.Fatal(output)
	}
	s := f.spec("contract")
	s.Argv, s.Env, s.Dir = []string{"postgres", "-D", data, "-p", "54399", "-c", "listen_addresses=",
		"-c", "unix_socket_directories=" + f.dir}, nil, ""
	started, err := f.rt.Start(f.ctx, s)
	must(f.T, err)
	f.eventually("PostgreSQL answers", func() bool {
		_, ok := run("pg_isready", "-q", "-h", f.dir, "-p", "54399")
		return ok
	})
	if !slices.Contains(processesIn(data), started.PID) {
		f.Errorf("process %d does not work in %s", started.PID, data)
	}
	must(f.T, syscall.Kill(started.PID, syscall.SIGINT))
	if exit, err := f.rt.Wait(f.ctx, "contract"); err != nil || exit != 0 {
		f.Errorf("after a fast shutdown: status %d, %v", exit, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
