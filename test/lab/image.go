package lab

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// This file makes a PostgreSQL container image from the packages in the root file system, because there is
// no registry to take one from: the server, its tools, a shell (initdb needs one), time zones, a
// locale, and the libraries all these name. There is no entry point.

// image makes the image, as a tar archive (for docker) and in podman's store.
func (b builder) image(ctx context.Context) error {
	version := b.recipe.PostgreSQL
	paths, err := b.imagePaths(ctx, version)
	if err != nil {
		return err
	}
	archive := fmt.Sprintf("%s/postgres-%s.tar", shareDir, version)
	if err := os.MkdirAll(filepath.Join(b.jail.root, shareDir), 0o755); err != nil {
		return err
	}
	if err := b.writeImage(archive, paths); err != nil {
		return fmt.Errorf("cannot write the PostgreSQL image: %w", err)
	}
	_, err = b.jail.run(ctx, "podman", "--root", imageStore, "--runroot", "/tmp/podman", "--storage-driver", "overlay",
		"--cgroup-manager", "cgroupfs", "--events-backend", "none", "import",
		"--change", "ENV PATH=/usr/lib/postgresql/"+version+"/bin:/usr/bin", "--change", "ENV LANG=C.UTF-8",
		archive, "localhost/postgres:"+version)
	return err
}

// imagePaths lists the files and symbolic links of the image, relative to the root, sorted.
func (b builder) imagePaths(ctx context.Context, version string) ([]string, error) {
	var paths, programs []string
	for _, tool := range strings.Fields("cat chmod cp dash date env false head id locale ls mkdir mv rm sh sleep test touch true") {
		programs = append(programs, "usr/bin/"+tool)
	}
	for _, dir := range []string{"usr/lib/postgresql/" + version + "/bin", "usr/lib/postgresql/" + version + "/lib"} {
		found, err := b.files(dir)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if !strings.Contains(path, "/pgxs/") && !strings.Contains(path, "/bitcode/") && !strings.Contains(path, "/llvmjit") {
				programs = append(programs, path)
			}
		}
	}
	for _, dir := range []string{"usr/share/postgresql/" + version, "usr/share/zoneinfo", "usr/lib/locale/C.utf8"} {
		found, err := b.files(dir)
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	libraries, err := b.libraries(ctx, programs)
	if err != nil {
		return nil, err
	}
	paths = slices.Concat(paths, programs, libraries)
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

func (b builder) files(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(filepath.Join(b.jail.root, dir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, b.jail.root+"/"))
		}
		return err
	})
	return found, err
}

// libraries returns the shared libraries that programs and modules need, links and their targets.
func (b builder) libraries(ctx context.Context, programs []string) ([]string, error) {
	args := []string{"ldd"}
	for _, p := range programs {
		if p := "/" + p; !strings.Contains(p, "/postgresql/") || strings.Contains(p, "/bin/") || strings.HasSuffix(p, ".so") {
			args = append(args, p)
		}
	}
	out, err := b.jail.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, lib := range lddPaths(out) {
		dir, err := filepath.EvalSymlinks(filepath.Join(b.jail.root, filepath.Dir(lib))) // /lib is /usr/lib
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, filepath.Base(lib))
		file, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, err
		}
		for _, p := range []string{path, file} {
			found = append(found, strings.TrimPrefix(p, b.jail.root+"/"))
		}
	}
	return found, nil
}

// lddPaths returns the absolute paths in ldd's output: "name => /path (address)" or "/path (address)".
func lddPaths(out string) []string {
	var paths []string
	for line := range strings.Lines(out) {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") && !slices.Contains(paths, word) {
				paths = append(paths, word)
			}
		}
	}
	return paths
}

// imagePostgres is the image's user and group id of postgres: not the hosts' own, as in real life.
const imagePostgres = 999

func (b builder) writeImage(archive string, paths []string) error {
	out, err := os.Create(filepath.Join(b.jail.root, archive))
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	if err := writeSkeleton(w); err != nil {
		return err
	}
	for _, path := range paths {
		if err := b.writeFile(w, path); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}

// writeSkeleton writes what the image has that no package does.
func writeSkeleton(w *tar.Writer) error {
	const passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n"
	const group = "root:x:0:\npostgres:x:999:\n"
	entries := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "tmp", Mode: 0o1777},
		{Typeflag: tar.TypeDir, Name: "root", Mode: 0o700},
		{Typeflag: tar.TypeDir, Name: "run/postgresql", Mode: 0o3775, Uid: imagePostgres, Gid: imagePostgres},
		{Typeflag: tar.TypeDir, Name: "var/lib/postgresql", Mode: 0o700, Uid: imagePostgres, Gid: imagePostgres},
		{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin"},
		{Typeflag: tar.TypeSymlink, Name: "lib", Linkname: "usr/lib"},
		{Typeflag: tar.TypeSymlink, Name: "lib64", Linkname: "usr/lib64"},
		{Typeflag: tar.TypeSymlink, Name: "var/run", Linkname: "../run"},
	}
	for _, dir := range strings.Fields("dev etc proc run sys usr usr/bin usr/lib usr/lib64 var var/lib") {
		entries = append(entries, tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755})
	}
	slices.SortStableFunc(entries, func(a, b tar.Header) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		if err := w.WriteHeader(&e); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"etc/passwd": passwd, "etc/group": group} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// writeFile copies one file or symbolic link of the root file system into the archive.
func (b builder) writeFile(w *tar.Writer, path string) error {
	full := filepath.Join(b.jail.root, path)
	info, err := os.Lstat(full)
	if err != nil {
		return err
	}
	var target string
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(full); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = path, 0, 0, "", ""
	if err := w.WriteHeader(header); err != nil || target != "" {
		return err
	}
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
