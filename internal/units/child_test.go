package units

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// child is a process that waits for the end of its standard input.
type child struct {
	*os.Process
	pid string
	end func()
}

func startChild(t *testing.T) child {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return child{cmd.Process, strconv.Itoa(cmd.Process.Pid), func() {
		t.Helper()
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}}
}
