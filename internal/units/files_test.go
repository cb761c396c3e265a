package units

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHierarchies(t *testing.T) {
	const (
		unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		legacy  = "32 24 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
		memory  = "33 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		bound   = "34 24 0:30 /pod\\040a /sys/fs/cg\\040roup rw - cgroup2 cgroup2 rw\n"
		other   = "35 24 0:31 / / rw - ext4 /dev/vda rw\n"
	)
	tests := map[string]struct {
		mountinfo string
		want      []hierarchy
	}{
		"v2":                     {other + unified, []hierarchy{{"/sys/fs/cgroup", "/"}}},
		"v1":                     {memory + legacy, []hierarchy{{"/sys/fs/cgroup/systemd", "/"}}},
		"both":                   {legacy + memory + hybrid, []hierarchy{{"/sys/fs/cgroup/systemd", "/"}, {"/sys/fs/cgroup/unified", "/"}}},
		"part of one, a blank":   {bound, []hierarchy{{"/sys/fs/cg roup", "/pod a"}}},
		"none is an error":       {other + memory, nil},
		"nothing at all as well": {"", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := hierarchies(bufio.NewScanner(strings.NewReader(test.mountinfo)))
			if !slices.Equal(got, test.want) || (err != nil) != (test.want == nil) {
				t.Errorf("hierarchies are %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestProcessesOfAGroup(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	for file, content := range map[string]string{
		v2 + "/a.slice/cgroup.procs":                     "1\n",
		v2 + "/a.slice/x.service/cgroup.procs":           "",
		v2 + "/a.slice/x.service/payload/cgroup.procs":   "30\n10\n",
		v2 + "/a.slice/x.service/payload/memory.current": "77\n",
		v1 + "/x.service/cgroup.procs":                   "10\n20\n0\n",
		v2 + "/a.slice/bad.service/cgroup.procs":         "ten\n",
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	both := []hierarchy{{v2, "/"}, {v1, "/a.slice"}}
	tests := map[string]struct {
		group string
		want  []int
		fails bool
	}{
		"all below it, in every hierarchy, once": {"/a.slice/x.service", []int{0, 10, 20, 30}, false},
		"a group that is not there has none":     {"/a.slice/y.service", nil, false},
		"what cannot be read is no empty group":  {"/a.slice/bad.service", nil, true},
		"the root is nobody's":                   {"/", nil, true},
		"systemd names no group":                 {"", nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := processes(both, test.group)
			if !slices.Equal(got, test.want) || (err != nil) != test.fails {
				t.Errorf("processes are %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestAGroupWithoutItsListIsAnError(t *testing.T) {
	mount := t.TempDir()
	if err := os.MkdirAll(mount+"/x.service/cgroup.procs", 0o755); err != nil { // a directory cannot be read
		t.Fatal(err)
	}
	if got, err := processes([]hierarchy{{mount, "/"}}, "/x.service"); err == nil {
		t.Errorf("processes are %v, want an error", got)
	}
}

// The real thing: this process in a group of its own, in whatever hierarchy
// this machine has.
func TestProcessesOfARealGroup(t *testing.T) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer mounts.Close()
	all, err := hierarchies(bufio.NewScanner(mounts))
	if err != nil {
		t.Fatal(err)
	}
	group := filepath.Join(all[0].mount, "pgtwin-test.slice", "inner")
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(filepath.Dir(group))
	defer os.Remove(group)

	if pids, err := CgroupProcesses("/pgtwin-test.slice"); err != nil || len(pids) != 0 {
		t.Errorf("an empty group has %v, %v", pids, err)
	}
	child := startChild(t)
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(child.pid), 0o644); err != nil {
		t.Fatal(err)
	}
	if pids, err := CgroupProcesses("/pgtwin-test.slice"); err != nil || len(pids) != 1 || pids[0] != child.Pid {
		t.Errorf("processes are %v, %v, want %d", pids, err, child.Pid)
	}
	child.end()
}

func TestPut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.service.d", dropIn)
	steps := []struct {
		name, content string
		changed       bool
	}{
		{"nothing wanted, nothing there", "", false},
		{"new", "[Service]\n", true},
		{"the same again", "[Service]\n", false},
		{"other", "[Unit]\n", true},
		{"not wanted any more", "", true},
		{"and gone", "", false},
	}
	for _, step := range steps {
		changed, err := put(file, step.content)
		if err != nil || changed != step.changed {
			t.Fatalf("%s: changed is %v, %v, want %v", step.name, changed, err, step.changed)
		}
		got, _ := os.ReadFile(file)
		if string(got) != step.content {
			t.Fatalf("%s: content is %q, want %q", step.name, got, step.content)
		}
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestNotifyForSpeaksForAnotherProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	passCredentials(t, systemd)
	child := startChild(t)
	defer child.end()

	if err := notifyFor(name, child.Pid, "STATUS=primary"); err != nil {
		t.Fatal(err)
	}
	text, oob := make([]byte, 100), make([]byte, 100)
	n, oobn, _, _, err := systemd.ReadMsgUnix(text, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("control messages are %v, %v", messages, err)
	}
	sender, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	if string(text[:n]) != "STATUS=primary" || int(sender.Pid) != child.Pid || sender.Uid != 0 {
		t.Errorf("got %q from %+v, want it from process %d", text[:n], sender, child.Pid)
	}
}

func TestNotifyWithoutSystemdIsAnError(t *testing.T) {
	if err := notifyFor(filepath.Join(t.TempDir(), "none"), os.Getpid(), "STATUS=x"); err == nil {
		t.Error("nobody listens, yet there was no error")
	}
}

func passCredentials(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errSet error
	err = raw.Control(func(fd uintptr) { errSet = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil || errSet != nil {
		t.Fatal(err, errSet)
	}
}
