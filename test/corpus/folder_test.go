package corpus

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// folder is one situation, as its expect.toml describes it; README.md explains the keys.
type folder struct {
	name string

	About      string
	Source     string
	PostgreSQL []int
	Expect     string
	Standby    string // "waits": h2 must not become complete, and say why
	Skip       []string
	Score      int // of a complete standby; 0: EligibleScore
	Database   string

	Resource map[string]string
	Routine  bool // played by make test, too
	Start    []string
	Startdb  string // the database of SQL
	SQL      []string
	End      string
	Owners   map[string]string
	Groups   map[string]string
	Modes    map[string]string
	// Certificates maps the path of each certificate that the runner makes to the path of its key.
	Certificates map[string]string
	Remove       []string
	Words        words
	Assert       []assertion
	Files        []fileAssertion
	Step         []step
}

type words struct {
	Refusal  []string
	Warnings []string
	Log      []string
	Never    []string
}

// assertion is a query that returns one value, on a host or on the host of a role.
type assertion struct {
	On    string
	After string
	SQL   string
	Want  string
}

type fileAssertion struct {
	On      string
	After   string
	Exist   []string
	Missing []string
}

// step is something that the administrator does after a stage of the story.
type step struct {
	After  string
	On     string
	SQL    []string
	Append map[string]string
	Remove []string
	Reload bool
	Signal string
	// Hold is a statement in a session of its own, for whose end nobody waits, or with Through the story does: the
	// epoch must then be the same as before.
	Hold    string
	Times   int // how many such sessions; those that get no connection do not matter
	Through bool
	Await   string // complete: the standby must be
	There   string // a file that must be on the host before anything of the step is done
}

// stages are those of a story, in order.
var stages = []string{"validate", "start", "promote", "rows", "clone", "crash", "return", "switchback", "restart", "end"}

func readFolder(name string) (folder, error) {
	f := folder{name: name}
	meta, err := toml.DecodeFile(filepath.Join(name, "expect.toml"), &f)
	if err == nil {
		err = f.check(meta)
	}
	if err != nil {
		return f, fmt.Errorf("cannot read %s/expect.toml: %w", name, err)
	}
	if len(f.PostgreSQL) == 0 {
		f.PostgreSQL = []int{15}
	}
	f.Database = cmp.Or(f.Database, "postgres")
	f.Startdb = cmp.Or(f.Startdb, "postgres")
	return f, nil
}

func (f folder) check(meta toml.MetaData) error {
	var wrong []error
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		wrong = append(wrong, fmt.Errorf("nothing is known of %v", unknown))
	}
	if !slices.Contains([]string{"works", "refused", "either", "waits"}, f.Expect) || f.Standby != "" && f.Standby != "waits" {
		wrong = append(wrong, fmt.Errorf("nothing is known of expect = %q, standby = %q", f.Expect, f.Standby))
	}
	if (f.Expect == "refused" || f.Expect == "either") && len(f.Words.Refusal) == 0 {
		wrong = append(wrong, errors.New("a refusal needs words"))
	}
	if (f.Expect == "waits" || f.Standby == "waits") && len(f.Words.Warnings) == 0 {
		wrong = append(wrong, errors.New("a host that waits needs warnings"))
	}
	if f.About == "" || f.Source == "" {
		wrong = append(wrong, errors.New("about or source is missing"))
	}
	after := slices.Clone(f.Skip)
	for _, s := range f.Step {
		after = append(after, s.After)
	}
	for _, a := range f.Assert {
		after = append(after, a.after())
	}
	for _, a := range f.Files {
		after = append(after, a.after())
	}
	for _, stage := range after {
		if !slices.Contains(stages, stage) {
			wrong = append(wrong, fmt.Errorf("there is no stage %q", stage))
		}
	}
	return errors.Join(wrong...)
}

func (a assertion) after() string     { return orEnd(a.After) }
func (a fileAssertion) after() string { return orEnd(a.After) }

func orEnd(stage string) string { return cmp.Or(stage, "end") }

// appended is the end of the name of a file that is added to the one of the same name without it.
const appended = ".append"

// lay puts the files of a directory of the folder over those of a host.
func (f folder) lay(from, to string, uid, gid int) error {
	root := filepath.Join(f.name, from)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil || path == root {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, root))
		if err := layOne(path, target, entry); err != nil {
			return err
		}
		return os.Lchown(strings.TrimSuffix(target, appended), uid, gid)
	})
}

func layOne(path, target string, entry fs.DirEntry) error {
	if entry.IsDir() {
		err := os.Mkdir(target, 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return errors.Join(err, os.Chmod(target, 0o755))
	}
	if entry.Type()&fs.ModeSymlink != 0 {
		return exec.Command("cp", "-dT", "--remove-destination", path, target).Run()
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if strings.HasSuffix(target, appended) {
		target, flags = strings.TrimSuffix(target, appended), os.O_CREATE|os.O_WRONLY|os.O_APPEND
	}
	return write(target, flags, string(text))
}

func write(path string, flags int, text string) error {
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
