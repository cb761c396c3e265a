package lab

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestMirrorIn(t *testing.T) {
	const deb822 = `
Types: deb
# http://snapshot.example.org/archive/debian/20250520T000000Z
URIs: http://deb.example.org/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
URIs:
 http://deb.example.org/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`
	tests := []struct {
		name, file, text, want string
	}{
		{"deb822: the main archive, not security", "debian.sources", deb822[1:], "http://deb.example.org/debian"},
		{"deb822: a disabled stanza does not count", "debian.sources",
			"Enabled: no\nTypes: deb\nURIs: http://a/debian\nSuites: trixie\nComponents: main\n", ""},
		{"deb822: sources alone are not enough", "debian.sources",
			"Types: deb-src\nURIs: http://a/debian\nSuites: trixie\nComponents: main\n", ""},
		{"one line", "sources.list", "deb http://a/debian trixie main\n", "http://a/debian"},
		{"one line with options, after others", "sources.list",
			"# deb http://x/debian trixie main\ndeb-src http://y/debian trixie main\n" +
				"deb [arch=amd64 signed-by=/k.gpg] https://a/debian/ trixie main contrib # ours\n", "https://a/debian"},
		{"another vendor's archive", "node.list", "deb https://deb.example.com/node_20.x nodistro main\n", ""},
		{"updates alone", "sources.list", "deb http://a/debian trixie-updates main\n", ""},
		{"a file apt ignores", "debian.sources.bak", "deb http://a/debian trixie main\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mirrorIn(tt.file, tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRecipeKey(t *testing.T) {
	r, err := recipeFor("trixie")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := recipeFor("trixie")
	if r.key() != again.key() {
		t.Error("the same recipe has two keys")
	}
	if key := r.key(); !strings.HasPrefix(key, "trixie-") || len(key) != len("trixie-")+12 {
		t.Errorf("unexpected key %q", key)
	}
	changes := map[string]func(*recipe){
		"a package":     func(r *recipe) { r.Packages = append(r.Packages, "hello") },
		"a file's text": func(r *recipe) { r.Files["/etc/fstab"] = "# changed\n" },
		"the steps":     func(r *recipe) { r.Version++ },
	}
	for name, change := range changes {
		other, _ := recipeFor("trixie")
		change(&other)
		if other.key() == r.key() {
			t.Errorf("a change of %s does not change the key", name)
		}
	}
	if _, err := recipeFor("sarge"); err == nil {
		t.Error("an unknown release is accepted")
	}
}

func TestCorosyncConf(t *testing.T) {
	for hosts, twoNode := range map[int]bool{1: false, 2: true, 3: false} {
		l := newLab(state{Names: hostNames(hosts)})
		text, err := renderCorosync(l.Hosts())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(text, "two_node: 1"); got != twoNode {
			t.Errorf("%d hosts: two_node is %v", hosts, got)
		}
		if got := strings.Count(text, "ring0_addr:"); got != hosts {
			t.Errorf("%d hosts: %d nodes", hosts, got)
		}
		for line := range strings.Lines(text) {
			if strings.Count(line, ":") > 1 || strings.Contains(line, "{") && strings.Contains(line, ":") {
				t.Errorf("corosync does not accept several things on one line: %q", line)
			}
		}
	}
	l := newLab(state{Names: hostNames(2)})
	text, _ := renderCorosync(l.Hosts())
	const node = "\tnode {\n\t\tring0_addr: 10.77.0.12\n\t\tname: h2\n\t\tnodeid: 2\n\t}\n"
	if !strings.Contains(text, node) {
		t.Errorf("no second node in\n%s", text)
	}
}

func TestLddPaths(t *testing.T) {
	const out = `
/usr/bin/sh:
	linux-vdso.so.1 (0x00007fff3a9f1000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2f0a000000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f2f0a3f0000)
/usr/bin/cat:
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2f0b000000)
	libgone.so => not found
`
	got := strings.Join(lddPaths(out), " ")
	if want := "/lib/x86_64-linux-gnu/libc.so.6 /lib64/ld-linux-x86-64.so.2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFenceOptions(t *testing.T) {
	tests := []struct {
		name         string
		args         []string
		stdin        string
		action, port string
	}{
		{"Pacemaker", nil, "# comment\nnodename=h2\naction=off\nport=h2\nnonsense\n", "off", "h2"},
		{"no action is reboot", nil, "port=h1\n", "reboot", "h1"},
		{"plug is another word for port", nil, "plug=h1\n", "reboot", "h1"},
		{"by hand", []string{"-o", "status", "--plug=h1"}, "action=off\n", "status", "h1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fenceOptions(tt.args, strings.NewReader(tt.stdin))
			if err != nil || got["action"] != tt.action || got["port"] != tt.port {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	if _, err := fenceOptions([]string{"--wipe"}, strings.NewReader("")); err == nil {
		t.Error("an unknown option is accepted")
	}
}

func TestWhoHasLostItsPowerHasHungUp(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	asking, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	answering, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer answering.Close()
	if hungUp(answering.(*net.UnixConn)) {
		t.Error("hung up while the other end is open")
	}
	asking.Close()
	if !hungUp(answering.(*net.UnixConn)) {
		t.Error("not hung up after the other end was closed")
	}
}

func TestIsSecret(t *testing.T) {
	for name, want := range map[string]bool{".pgpass": true, "passfile": true, "server.key": true, "status.json": false} {
		if isSecret(name) != want {
			t.Errorf("%s: secret is %v", name, !want)
		}
	}
}
