package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Names under which a copy of the running program becomes a helper of the lab.
const (
	hostHelper  = "pgtwin-lab-host"  // a host's first process, until systemd takes over
	jailHelper  = "pgtwin-lab-jail"  // runs a program in a root file system being built
	fenceHelper = "pgtwin-lab-fence" // the fencing daemon
	agentHelper = "fence_lab"        // the fence agent in the hosts
)

// init turns the program into a helper when it was started as one. It is here rather than in main because
// the lab is used from test binaries, too, whose main is not ours; a program that forgot to ask would
// run all its tests again instead of becoming a host.
func init() {
	var main func() error
	switch filepath.Base(os.Args[0]) {
	case hostHelper:
		main = hostMain
	case jailHelper:
		main = jailMain
	case fenceHelper:
		main = fenceServerMain
	case agentHelper:
		main = fenceAgentMain
	default:
		return
	}
	if err := main(); err != nil {
		fmt.Fprintln(os.Stderr, filepath.Base(os.Args[0])+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helper returns a command that starts the running program under a helper's name.
func helper(name string, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{name}, args...), Env: os.Environ()}
}
