package corpus

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"pgtwin/internal/pg"
)

// binDir is where the programs of a major version are: Debian's, which can clone and rewind, or the bare
// servers that hack/setup installs.
func binDir(major int) (string, error) {
	var tried []string
	for _, root := range []string{"/usr/lib/postgresql", "/var/cache/pgtwin-lab/postgresql"} {
		dir := filepath.Join(root, strconv.Itoa(major), "bin")
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
		tried = append(tried, dir)
	}
	return "", fmt.Errorf("cannot find PostgreSQL %d in %v: run make setup", major, tried)
}

// copies says whether the programs of a version include those that copy a database.
func copies(bin string) bool {
	_, err := os.Stat(filepath.Join(bin, "pg_basebackup"))
	return err == nil
}

// templates are fresh databases, one for each major version, that the hosts' databases are copies of.
type templates struct {
	mu  sync.Mutex
	dir string
	of  map[int]string
}

var servers = &templates{of: map[int]string{}}

// shm is where everything of a story lies: fsync costs nothing there.
const shm = "/dev/shm"

func (s *templates) get(major int, bin string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if dir, made := s.of[major]; made {
		return dir, nil
	}
	if s.dir == "" {
		dir, err := os.MkdirTemp(shm, "pgtwin-corpus-templates-")
		if err != nil {
			return "", err
		}
		s.dir = dir
	}
	account, err := postgres()
	if err == nil {
		err = errors.Join(os.Chown(s.dir, int(account.Uid), int(account.Gid)))
	}
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, strconv.Itoa(major))
	argv := append(pg.InitDB(dir, "postgres"), "--no-sync", "--wal-segsize=1") // small to copy
	if out, err := program(bin, account, argv...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot make a database with %s: %w: %s", bin, err, out)
	}
	s.of[major] = dir
	return dir, nil
}

func (s *templates) remove() {
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// postgres is as whom the servers run, which refuse to be root, with the groups that a login gives.
func postgres() (*syscall.Credential, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	as := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, err := account.GroupIds()
	for _, group := range groups {
		n, errGroup := strconv.ParseUint(group, 10, 32)
		as.Groups, err = append(as.Groups, uint32(n)), errors.Join(err, errGroup)
	}
	return as, errors.Join(errUID, errGID, err)
}

func program(bin string, as *syscall.Credential, argv ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, argv[0]), argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C", "PATH=" + bin + ":/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	return cmd
}
