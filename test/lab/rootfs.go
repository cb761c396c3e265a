package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// rootFS returns the directory of the cached root file system, building it if need be. It is built under
// another name and renamed when complete; a build that was interrupted is never used.
func rootFS(ctx context.Context, o Options) (string, error) {
	r, err := recipeFor(o.Base)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cacheDir, r.key())
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	mirror, err := debianMirror()
	if err != nil {
		return "", err
	}
	if err := dropOld(o.Base); err != nil {
		return "", err
	}
	began := time.Now()
	o.logf("building the root file system, which takes some minutes, once: %s", dir)
	b := builder{recipe: r, mirror: mirror, log: o.logf}
	if b.jail, err = newJail(dir + ".partial"); err != nil {
		return "", err
	}
	if err := b.build(ctx); err != nil {
		return "", err
	}
	o.logf("built in %s", time.Since(began).Round(time.Second))
	return dir, os.Rename(b.jail.root, dir)
}

// dropOld removes root file systems of the same release from other recipes, and unfinished ones. No host
// is up while one is built.
func dropOld(base string) error {
	old, err := filepath.Glob(filepath.Join(cacheDir, base+"-*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot remove an old root file system: %w", err)
		}
	}
	return nil
}

// builder builds one root file system.
type builder struct {
	recipe recipe
	mirror string
	jail   jail
	log    func(format string, args ...any)
}

func (b builder) build(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"installing the base system", b.bootstrap},
		{"installing packages", b.packages},
		{"configuring", b.configure},
		{"making the PostgreSQL image", b.image},
		{"tidying up", b.tidy},
	}
	for _, s := range steps {
		b.log("%s", s.name)
		if err := s.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b builder) bootstrap(ctx context.Context) error {
	if err := os.MkdirAll(b.jail.root, 0o755); err != nil {
		return err
	}
	_, err := b.jail.runOutside(ctx, "debootstrap", "--variant=minbase",
		"--include=systemd,systemd-sysv,dbus,ca-certificates", b.recipe.Base, b.jail.root, b.mirror)
	return err
}

// packages installs the recipe's packages; none may start a service or make a database.
func (b builder) packages(ctx context.Context) error {
	before := map[string]string{
		"/usr/sbin/policy-rc.d":                     "#!/bin/sh\nexit 101\n",
		"/etc/postgresql-common/createcluster.conf": "create_main_cluster = false\n",
		// What nobody reads in a lab, and syncing what a crash may well destroy, only takes time.
		"/etc/dpkg/dpkg.cfg.d/lab": "force-unsafe-io\npath-exclude=/usr/share/doc/*\n" +
			"path-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n",
	}
	for path, text := range before {
		if err := b.write(path, text, 0o755); err != nil {
			return err
		}
	}
	install := []string{"apt-get", "-qq", "install", "--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"}
	_, err := b.jail.run(ctx, append(install, b.recipe.Packages...)...)
	return err
}

func (b builder) configure(ctx context.Context) error {
	for path, text := range b.recipe.Files {
		if err := b.write(path, text, 0o644); err != nil {
			return err
		}
	}
	// A unit that one release has and the other has not is no reason to fail.
	units, err := b.jail.run(ctx, "systemctl", "list-unit-files", "--no-legend", "--plain")
	if err != nil {
		return err
	}
	for _, unit := range b.recipe.Disabled {
		if !strings.Contains(units, unit) && !strings.Contains(unit, "@") {
			continue
		}
		if _, err := b.jail.run(ctx, "systemctl", "disable", unit); err != nil {
			return err
		}
	}
	if _, err := b.jail.run(ctx, append([]string{"systemctl", "mask"}, b.recipe.Masked...)...); err != nil {
		return err
	}
	_, err = b.jail.run(ctx, append([]string{"systemctl", "enable"}, b.recipe.Enabled...)...)
	return err
}

// tidy removes what the build needed and the hosts do not.
func (b builder) tidy(ctx context.Context) error {
	if _, err := b.jail.run(ctx, "apt-get", "clean"); err != nil {
		return err
	}
	for _, path := range []string{"usr/sbin/policy-rc.d", "var/lib/apt/lists", "etc/hostname", "var/log/bootstrap.log"} {
		if err := os.RemoveAll(filepath.Join(b.jail.root, path)); err != nil {
			return err
		}
	}
	if err := b.write("/etc/resolv.conf", "", 0o644); err != nil {
		return err
	}
	return b.jail.group.remove()
}

// write writes a file of the root file system in the place of whatever is there.
func (b builder) write(path, text string, mode os.FileMode) error {
	path = filepath.Join(b.jail.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}
