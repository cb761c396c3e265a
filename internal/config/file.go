package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"pgtwin/internal/ocf"
)

// File is what pgtwin.toml says, all of its copies taken together. Get one from
// Load: every table in it is complete with defaults.
type File struct {
	Defaults  Settings            // [defaults]
	Instances map[string]Settings // [instance.NAME]: the defaults and what NAME has of its own
}

// For is the settings for the instance called name.
func (f File) For(name string) Settings {
	if s, found := f.Instances[name]; found {
		return s
	}
	return f.Defaults
}

// Load reads pgtwin.toml from the paths, of which the later ones override the
// earlier ones key by key; without any, /usr/etc/pgtwin/pgtwin.toml of the
// package and /etc/pgtwin/pgtwin.toml of the administrator. A file that does not
// exist is an empty one. Every mistake is reported as FILE:LINE: KEY: why, and
// makes the whole an error of kind ocf.ErrConfigured.
func Load(paths ...string) (File, error) {
	if len(paths) == 0 {
		paths = []string{"/usr/etc/pgtwin/pgtwin.toml", "/etc/pgtwin/pgtwin.toml"}
	}
	var documents []*document
	for _, path := range paths {
		doc, err := read(path)
		if err != nil {
			return File{}, err
		}
		documents = append(documents, doc)
	}
	f, err := merge(documents)
	if err != nil {
		return File{}, &ocf.Error{Code: ocf.ErrConfigured, Err: err}
	}
	return f, nil
}

// merge takes all [defaults] before any [instance.NAME], so that an instance's
// own table wins, whichever file has it.
func merge(documents []*document) (File, error) {
	f := File{Defaults: Defaults(), Instances: map[string]Settings{}}
	var wrong []error
	for _, doc := range documents {
		wrong = append(wrong, doc.decode(&f.Defaults, "defaults"))
	}
	for _, doc := range documents {
		for _, name := range slices.Sorted(maps.Keys(doc.tables.Instance)) {
			if _, err := ocf.InstanceName(name); err != nil {
				wrong = append(wrong, doc.errorAt([]string{"instance", name}, err))
			}
			settings := f.For(name)
			settings.Addresses = maps.Clone(settings.Addresses)
			settings.ContainerDirs = slices.Clone(settings.ContainerDirs)
			settings.ReplicationFrom = slices.Clone(settings.ReplicationFrom)
			wrong = append(wrong, doc.decode(&settings, "instance", name))
			f.Instances[name] = settings
		}
		wrong = append(wrong, doc.unknown())
	}
	return f, errors.Join(wrong...)
}

// document is one file, parsed and not yet decoded: [instance.NAME] can only be
// laid over defaults that are complete.
type document struct {
	path   string
	text   string
	meta   toml.MetaData
	tables struct {
		Defaults toml.Primitive
		Instance map[string]toml.Primitive
	}
}

func read(path string) (*document, error) {
	doc := &document{path: path}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the settings: %w", err)
	}
	doc.text = string(text)
	doc.meta, err = toml.Decode(doc.text, &doc.tables)
	if err != nil {
		return nil, &ocf.Error{Code: ocf.ErrConfigured, Err: doc.located(err)}
	}
	return doc, nil
}

// decode lays one table of the document over settings and checks what it set.
func (d *document) decode(settings *Settings, table ...string) error {
	if !d.meta.IsDefined(table...) {
		return nil
	}
	primitive := d.tables.Defaults
	if len(table) == 2 {
		primitive = d.tables.Instance[table[1]]
	}
	if err := d.meta.PrimitiveDecode(primitive, settings); err != nil {
		return d.located(err)
	}
	var wrong []error
	for _, p := range settings.problems() {
		if key := append(slices.Clone(table), p.key...); d.meta.IsDefined(key...) {
			wrong = append(wrong, d.errorAt(key, p.err))
		}
	}
	return errors.Join(wrong...)
}

// unknown reports the keys that are no setting, each with its line and what may
// have been meant. The decoder would not: to it, upper and lower case are one.
func (d *document) unknown() error {
	var wrong []error
	var reported toml.Key
	for _, key := range d.meta.Keys() {
		if reported != nil && len(key) > len(reported) && slices.Equal(key[:len(reported)], reported) {
			continue // the table above it is unknown already
		}
		known := neighbours(key)
		if name := key[len(key)-1]; known != nil && !slices.Contains(known, name) {
			reported = key
			wrong = append(wrong, d.errorAt(key, errors.New("not a setting of pgtwin"+ocf.DidYouMean(name, known))))
		}
	}
	return errors.Join(wrong...)
}

// neighbours are the keys that can stand where key does, or nil where any can:
// the names of instances and of nodes.
func neighbours(key toml.Key) []string {
	if len(key) == 1 {
		return []string{"defaults", "instance"}
	}
	below := key[1:]
	if key[0] == "instance" {
		below = key[2:]
	}
	switch {
	case len(below) == 0, len(below) == 2 && below[0] == "addresses":
		return nil
	case len(below) == 2 && below[0] == "limits":
		return keysOf(Limits{})
	case len(below) == 1:
		return keysOf(Settings{})
	default:
		return []string{}
	}
}

// keysOf are the keys that a table of pgtwin.toml can have.
func keysOf(table any) []string {
	var keys []string
	for field := range reflect.TypeOf(table).Fields() {
		key := field.Tag.Get("toml")
		if key == "" {
			key = field.Name
		}
		keys = append(keys, key)
	}
	return keys
}

// located adds the file and the line to an error of the decoder.
func (d *document) located(err error) error {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("%s: %w", d.path, err) // its text has the line
	}
	key := ""
	if parse.LastKey != "" {
		key = parse.LastKey + ": "
	}
	return fmt.Errorf("%s:%d: %s%s", d.path, parse.Position.Line, key, parse.Message)
}

func (d *document) errorAt(key toml.Key, err error) error {
	return fmt.Errorf("%s:%d: %s: %w", d.path, d.line(key), strings.Join(key, "."), err)
}

// line is where a key stands. The decoder tells positions in its errors alone,
// so the value is decoded into something that refuses it.
func (d *document) line(key toml.Key) int {
	tables := map[string]toml.Primitive{}
	meta, err := toml.Decode(d.text, &tables)
	last := len(key) - 1
	for _, part := range key[:last] {
		next := map[string]toml.Primitive{}
		err = errors.Join(err, meta.PrimitiveDecode(tables[part], &next))
		tables = next
	}
	var refused toml.ParseError
	if err != nil || !errors.As(meta.PrimitiveDecode(tables[key[last]], &refusal{}), &refused) {
		return 0
	}
	return refused.Position.Line
}

// refusal cannot be decoded.
type refusal struct{}

// UnmarshalTOML refuses every value.
func (*refusal) UnmarshalTOML(any) error { return errors.New("refused") }
