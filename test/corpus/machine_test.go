package corpus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
)

// network is a bridge in a namespace of its own, into which the hosts are plugged.
type network struct{ cmd *exec.Cmd }

func newNetwork() (*network, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVariable + "=" + roleSwitch, bootVariable + "={}"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	n := &network{cmd}
	if err := ip(cmd.Process.Pid, "link add br0 type bridge", "link set br0 up"); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *network) close() error {
	err := n.cmd.Process.Kill()
	n.cmd.Wait()
	return err
}

// plug gives a host that has just been switched on its interface.
func (n *network) plug(pid, index, boots int) error {
	port := fmt.Sprintf("h%d-%d", index, boots)
	err := ip(n.cmd.Process.Pid, fmt.Sprintf("link add %s type veth peer name eth0 netns %d", port, pid),
		fmt.Sprintf("link set %s master br0", port), fmt.Sprintf("link set %s up", port))
	return errors.Join(err, ip(pid, "link set lo up", fmt.Sprintf("addr add %s/24 dev eth0", address(index)),
		fmt.Sprintf("addr add fd77::%d/64 dev eth0 nodad", index), "link set eth0 up"))
}

func address(index int) string { return fmt.Sprintf("10.77.0.%d", index) }

// ip runs commands of ip(8) in the network namespace of a process.
func ip(pid int, commands ...string) error {
	cmd := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	return run(cmd)
}

// machine is a host as it stands in the rack.
type machine struct {
	boot    boot
	index   int
	network *network
	base    *base
	said    func(string, ...any)

	mu     sync.Mutex
	cmd    *exec.Cmd
	orders *rpc.Client
	on     bool
	boots  int
	served sync.WaitGroup
}

// powerOn boots the machine.
func (m *machine) powerOn() error {
	clusterHere, clusterThere, err := pair()
	if err != nil {
		return err
	}
	ordersHere, ordersThere, err := pair()
	if err != nil {
		return err
	}
	text, err := json.Marshal(m.boot)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(m.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVariable + "=" + roleInit, bootVariable + "=" + string(text), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.ExtraFiles = []*os.File{clusterThere, ordersThere}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	err = cmd.Start()
	errors.Join(clusterThere.Close(), ordersThere.Close())
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.Register(&Cluster{m.base, m.boot.Node}); err != nil {
		return err
	}
	m.served.Go(func() { server.ServeCodec(jsonrpc.NewServerCodec(clusterHere)) })
	m.mu.Lock()
	m.cmd, m.orders, m.on = cmd, jsonrpc.NewClient(ordersHere), true
	m.boots++
	m.mu.Unlock()
	return m.network.plug(cmd.Process.Pid, m.index, m.boots)
}

// powerOff takes the current away: nothing of the host runs any more when it returns.
func (m *machine) powerOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.on {
		return
	}
	m.on = false
	m.cmd.Process.Kill()
	m.cmd.Wait()
	m.orders.Close()
	m.served.Wait()
}

func pair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	file := os.NewFile(uintptr(fds[0]), "here")
	defer file.Close()
	here, err := net.FileConn(file)
	return here, os.NewFile(uintptr(fds[1]), "there"), err
}

func (m *machine) logFile() string { return filepath.Join(m.boot.Dir, "log") }

// root is the host's file system as the test sees it, "" while the host is off.
func (m *machine) root() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.on {
		return ""
	}
	return fmt.Sprintf("/proc/%d/root", m.cmd.Process.Pid)
}

// order lets the host do something and waits for it.
func (m *machine) order(ctx context.Context, method string, args, reply any) error {
	m.mu.Lock()
	orders, on := m.orders, m.on
	m.mu.Unlock()
	if !on {
		return fmt.Errorf("%s is off", m.boot.Node)
	}
	began := time.Now()
	call := orders.Go("Host."+method, args, reply, make(chan *rpc.Call, 1))
	var err error
	select {
	case <-call.Done:
		err = call.Error
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	m.said("%s: %s after %.2f s: %v", m.boot.Node, method, time.Since(began).Seconds(), err)
	return err
}

// state is what the supervisor has left for others.
func (m *machine) state(name string) control.State {
	var st control.State
	root := m.root()
	if root == "" || control.ReadJSON(root+config.StatusFile(name), &st) != nil {
		return control.State{}
	}
	return st
}

// progress is what the activation has left.
func (m *machine) progress(name string) control.Progress {
	var p control.Progress
	root := m.root()
	if root == "" || control.ReadJSON(root+config.ProgressFile(name), &p) != nil {
		return control.Progress{}
	}
	return p
}
