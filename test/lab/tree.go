package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// extractArgs unpacks a tree over /: attributes of directories that are there stay, and /lib stays the
// symbolic link it is even if the tree has a directory of that name.
var extractArgs = []string{"tar", "--extract", "--directory=/", "--file=-",
	"--no-overwrite-dir", "--keep-directory-symlink", "--preserve-permissions"}

// installTree packs the tree below dir, as root's, and has the given command (a tar) unpack it.
func installTree(ctx context.Context, dir string, extract *exec.Cmd) error {
	pack := exec.CommandContext(ctx, "tar", "--create", "--file=-", "--directory="+dir,
		"--owner=0", "--group=0", "--numeric-owner", ".")
	var stderr strings.Builder
	pack.Stderr = &stderr
	reading, writing, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot install %s: %w", dir, err)
	}
	pack.Stdout, extract.Stdin = writing, reading
	err = pack.Start()
	writing.Close() // each end is now the programs' alone, so that either notices the other's end
	if err != nil {
		reading.Close()
		return fmt.Errorf("cannot install %s: %w", dir, err)
	}
	_, unpacked := output(ctx, extract, strings.Join(extract.Args, " "))
	reading.Close()
	if err := pack.Wait(); err != nil {
		return fmt.Errorf("cannot pack %s: %w", dir, withTail(err, stderr.String()))
	}
	return unpacked
}

// lookupUser finds a user's ids in the passwd file of a root file system.
func lookupUser(rootfs, name string) (uid, gid int, err error) {
	data, err := os.ReadFile(rootfs + "/etc/passwd")
	if err != nil {
		return 0, 0, fmt.Errorf("cannot look up user %s: %w", name, err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(line, ":"); f[0] == name && len(f) > 3 {
			_, err := fmt.Sscan(f[2]+" "+f[3], &uid, &gid)
			return uid, gid, err
		}
	}
	return 0, 0, fmt.Errorf("cannot look up user %s: %s/etc/passwd does not have it", name, rootfs)
}
