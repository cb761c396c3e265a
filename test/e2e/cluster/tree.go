package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Tree returns the directory that hosts are installed from: $PGTWIN_TREE, or what `make install` puts into temp.
func Tree(ctx context.Context, temp string) (string, error) {
	if tree := os.Getenv("PGTWIN_TREE"); tree != "" {
		return filepath.Abs(tree)
	}
	root, err := checkout()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "make", "-s", "-C", root, "install", "DESTDIR="+temp).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot make install: %w\n%s", err, out)
	}
	return temp, nil
}

// checkout is the root of the repository, above the working directory.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("cannot find the repository: set PGTWIN_TREE to a tree made by make install, or run in the checkout")
}
