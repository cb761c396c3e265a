package corpus

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a process of a host finds in its environment.
const (
	roleVariable = "PGTWIN_CORPUS_ROLE" // roleSwitch, roleInit or roleHost
	bootVariable = "PGTWIN_CORPUS_BOOT" // a boot, as JSON
)

const (
	roleSwitch = "switch" // holds the network namespace with the bridge
	roleInit   = "init"   // process 1 of a host: what it leaves behind dies with it
	roleHost   = "host"
)

// The descriptors that a host inherits.
const (
	clusterSocket = 3 + iota // to Pacemaker
	orderSocket              // from Pacemaker
)

// boot is what a host is told when it is switched on.
type boot struct {
	Node string
	Dir  string // holds etc, srv and lib, which outlive a loss of power
	Bin  string // of PostgreSQL's programs
}

func beHost(role string) int {
	var b boot
	err := json.Unmarshal([]byte(os.Getenv(bootVariable)), &b)
	switch {
	case err != nil:
	case role == roleSwitch:
		select {} // until it is killed
	case role == roleInit:
		err = beInit(b)
	case role == roleHost:
		err = serve(b)
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "host of the corpus:", err)
		return 1
	}
	return 0
}

// beInit makes the host's file systems and takes care of orphans until the host's main process ends.
func beInit(b boot) error {
	if err := errors.Join(mounts(b), unix.Sethostname([]byte(b.Node))); err != nil {
		return err
	}
	os.Setenv(roleVariable, roleHost)
	main, err := os.StartProcess("/proc/self/exe", os.Args[:1], &os.ProcAttr{Dir: "/", Files: []*os.File{os.Stdin, os.Stdout, os.Stderr,
		os.NewFile(clusterSocket, "cluster"), os.NewFile(orderSocket, "orders")}})
	if err != nil {
		return err
	}
	errors.Join(unix.Close(clusterSocket), unix.Close(orderSocket)) // the host's, whose end is to be seen
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if pid == main.Pid || err != nil && err != unix.EINTR {
			return nil
		}
	}
}

// mounts are those of a real host as far as pgtwin looks: a fresh /run with every boot.
func mounts(b boot) error {
	const state = "/var/lib/pgtwin"
	err := errors.Join(os.MkdirAll(state, 0o755), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for from, to := range map[string]string{"etc": "/etc", "srv": "/srv", "lib": state} {
		if err == nil {
			err = unix.Mount(filepath.Join(b.Dir, from), to, "", unix.MS_BIND, "")
		}
	}
	return errors.Join(err,
		unix.Mount("proc", "/proc", "proc", 0, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"),
		devices(), os.Mkdir("/run/pgtwin", 0o755), socketDir())
}

// devices are a /dev of the host's own, because PostgreSQL writes to /dev/log.
func devices() error {
	err := unix.Mount("tmpfs", "/dev", "tmpfs", 0, "mode=755")
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		path := "/dev/" + name
		err = errors.Join(err, unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(1, minor))), os.Chmod(path, 0o666))
	}
	return errors.Join(err, os.Symlink("/proc/self/fd", "/dev/fd"), os.Mkdir("/dev/shm", 0o1777),
		unix.Mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777"))
}

// journal writes what comes in at /dev/log to the host's log.
func journal() error {
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		return err
	}
	go func() {
		line := make([]byte, 1<<16)
		for {
			n, err := listener.Read(line)
			if err != nil {
				return
			}
			fmt.Fprintf(os.Stderr, "%s\n", line[:n])
		}
	}()
	return os.Chmod("/dev/log", 0o666)
}

// socketDir is as the distribution's package makes it (tmpfiles.d).
func socketDir() error {
	account, err := postgres()
	if err != nil {
		return err
	}
	const dir = "/run/postgresql"
	return errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, int(account.Uid), int(account.Gid)), os.Chmod(dir, 0o2775))
}

// serve carries out the orders of Pacemaker until that ends.
func serve(b boot) error {
	toCluster, err := conn(clusterSocket)
	if err != nil {
		return err
	}
	orders, err := conn(orderSocket)
	if err != nil {
		return err
	}
	if err := journal(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	h := &Host{boot: b, cluster: remote{jsonrpc.NewClient(toCluster)}, log: log}
	server := rpc.NewServer()
	if err := server.Register(h); err != nil {
		return err
	}
	server.ServeCodec(jsonrpc.NewServerCodec(orders))
	return nil
}

func conn(descriptor int) (net.Conn, error) {
	syscall.CloseOnExec(descriptor)
	file := os.NewFile(uintptr(descriptor), "socket")
	defer file.Close()
	return net.FileConn(file)
}

// run runs a program whose output is wanted only if it fails.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}
