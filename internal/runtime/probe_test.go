package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// probeEnv makes the test's own executable a program to run: it is static, so
// any container can have it mounted.
const probeEnv = "PGTWIN_TEST_PROBE=1"

func TestMain(m *testing.M) {
	if os.Getenv("PGTWIN_TEST_PROBE") != "" {
		os.Exit(probe(os.Args[1], os.Args[2:]))
	}
	os.Exit(m.Run())
}

// probed is what a probe sees of its surroundings.
type probed struct {
	UID, GID     int
	Groups       []int
	Dir          string
	Env          map[string]string
	Capabilities string // CapEff of /proc/self/status
	PID          int
	Stdin        string
	Accounts     string // the name that passwd has for the user id
	NoFile       uint64
	OOMScoreAdj  string
	RootWritable bool
	ShmWritable  bool
}

// probe is the program: serve FILE, say STATUS, describe, hold FILE, die SIGNAL.
func probe(verb string, args []string) int {
	switch verb {
	case "serve":
		return serve(args[0])
	case "say":
		fmt.Fprintln(os.Stdout, "to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		status, _ := strconv.Atoi(args[0])
		return status
	case "describe":
		return describe()
	case "hold":
		return holdWithChild(args[0])
	case "hold-detached":
		hold(args[0])
		select {}
	case "die":
		n, _ := strconv.Atoi(args[0])
		syscall.Kill(os.Getpid(), syscall.Signal(n))
		time.Sleep(time.Minute) // the signal arrives
	}
	return 99
}

// serve stands for a database: it leaves a mark when it is up and ends with
// status 0 at SIGINT and 7 at SIGTERM.
func serve(file string) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := os.WriteFile(file, []byte("up"), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	if <-signals == syscall.SIGTERM {
		return 7
	}
	return 0
}

func describe() int {
	var limit syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	groups, _ := os.Getgroups()
	dir, _ := os.Getwd()
	stdin, _ := os.Readlink("/proc/self/fd/0")
	oom, _ := os.ReadFile("/proc/self/oom_score_adj")
	p := probed{UID: os.Getuid(), GID: os.Getgid(), Groups: groups, Dir: dir, Env: map[string]string{},
		PID: os.Getpid(), Stdin: stdin, NoFile: limit.Max, OOMScoreAdj: strings.TrimSpace(string(oom)),
		RootWritable: writable("/probe-root"), ShmWritable: writable("/dev/shm/probe-shm")}
	for _, entry := range os.Environ() {
		k, v, _ := strings.Cut(entry, "=")
		p.Env[k] = v
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			p.Capabilities = strings.TrimSpace(v)
		}
	}
	passwd, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(passwd)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == strconv.Itoa(p.UID) {
			p.Accounts = f[0]
		}
	}
	json.NewEncoder(os.Stdout).Encode(p)
	return 0
}

func writable(path string) bool {
	f, err := os.Create(path)
	if err != nil {
		return false
	}
	f.Close()
	os.Remove(path)
	return true
}

// holdWithChild leaves its session with a child, as PostgreSQL's backends do,
// and both hold a lock until they die.
func holdWithChild(file string) int {
	child := exec.Command("/proc/self/exe", "hold-detached", file)
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	hold(file)
	select {}
}

// hold takes a shared lock that the process keeps.
func hold(file string) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(filepath.Dir(file), fmt.Sprintf("held-by-%d", os.Getpid())), nil, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(98)
	}
	held = append(held, f)
}

// held keeps the locked files from being collected and closed.
var held []*os.File
