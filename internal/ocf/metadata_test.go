package ocf

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

// golden compares got with a file in testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is intended: go test ./internal/ocf -update\n%s", file, got)
	}
}

func TestMetadataIsTheGoldenFile(t *testing.T) { golden(t, "testdata/metadata.xml", Metadata()) }

func TestManPageIsTheGoldenFile(t *testing.T) {
	golden(t, "testdata/ocf_heartbeat_pgtwin.7", ManPage())
}

// children are the elements that an element of the metadata has, in the order
// that both schemas of OCF prescribe: the RNG of 1.1 and ocf-tester's DTD.
var children = map[string][]string{
	"":               {"resource-agent"},
	"resource-agent": {"version", "longdesc", "shortdesc", "parameters", "actions"},
	"parameter":      {"longdesc", "shortdesc", "content"},
}

// attributes are those that an element must have and those that it may have.
var attributes = map[string][2][]string{
	"resource-agent": {{"name"}, {"version"}},
	"longdesc":       {{"lang"}, nil},
	"shortdesc":      {{"lang"}, nil},
	"parameter":      {{"name"}, {"unique-group", "required", "reloadable"}},
	"content":        {{"type"}, {"default"}},
	"action":         {{"name", "timeout"}, {"interval", "role", "depth"}},
}

type element struct {
	name     string
	attrs    map[string]string
	children []*element
}

func parse(t *testing.T) *element {
	t.Helper()
	root := &element{}
	stack := []*element{root}
	decoder := xml.NewDecoder(strings.NewReader(Metadata()))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return root
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attrs: map[string]string{}}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			parent := stack[len(stack)-1]
			parent.children = append(parent.children, e)
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		}
	}
}

func TestMetadataHasTheStructureOfTheSchemas(t *testing.T) {
	var check func(e *element)
	check = func(e *element) {
		var names []string
		for _, child := range e.children {
			names = append(names, child.name)
			check(child)
		}
		switch e.name {
		case "parameters", "actions":
			one := strings.TrimSuffix(e.name, "s")
			if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return n != one }) {
				t.Errorf("%s has the children %v", e.name, names)
			}
		default:
			if !slices.Equal(names, children[e.name]) {
				t.Errorf("%s has the children %v, want %v", e.name, names, children[e.name])
			}
		}
		allowed := attributes[e.name]
		for _, must := range allowed[0] {
			if e.attrs[must] == "" {
				t.Errorf("%s %s has no %s", e.name, e.attrs["name"], must)
			}
		}
		for attr := range e.attrs {
			if !slices.Contains(slices.Concat(allowed[0], allowed[1]), attr) {
				t.Errorf("%s %s has the attribute %s", e.name, e.attrs["name"], attr)
			}
		}
	}
	check(parse(t))
}

func TestParametersInTheMetadata(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range parse(t).children[0].children[3].children {
		name, content := p.attrs["name"], p.children[2]
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if !slices.Contains([]string{"string", "integer", "boolean"}, content.attrs["type"]) {
			t.Errorf("%s is of type %s, which the DTD does not have", name, content.attrs["type"])
		}
		if content.attrs["default"] != Default(name) {
			t.Errorf("%s: default %q", name, content.attrs["default"])
		}
	}
	if len(seen) != len(Table()) {
		t.Errorf("%d parameters, want %d", len(seen), len(Table()))
	}
}

func TestActionsInTheMetadata(t *testing.T) {
	seen, intervals := map[string]bool{}, map[string]bool{}
	for _, a := range parse(t).children[0].children[4].children {
		name, interval := a.attrs["name"], a.attrs["interval"]
		if (name == "monitor") != (interval != "") || intervals[interval] && interval != "" {
			t.Errorf("%s has the interval %q, which has to be its own", name, interval)
		}
		if !strings.HasSuffix(a.attrs["timeout"], "s") {
			t.Errorf("the timeout of %s is %q", name, a.attrs["timeout"])
		}
		seen[name], intervals[interval] = true, true
	}
	for _, name := range []string{"start", "stop", "monitor", "promote", "demote", "notify", "reload-agent", "meta-data", "validate-all"} {
		if !seen[name] {
			t.Errorf("%s is not advertised", name)
		}
	}
}

func TestManPageNeedsNoMoreEscaping(t *testing.T) {
	macros := []string{".TH", ".SH", ".TP", ".B", ".BR", ".I", ".PP", ".RS", ".RE", ".nf", ".fi", ".sp"}
	for line := range strings.Lines(ManPage()) {
		macro := strings.Fields(line + " .")[0]
		if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !slices.Contains(macros, macro) {
			t.Errorf("roff would take %q for a request", line)
		}
	}
	for _, p := range Table() {
		if !strings.Contains(ManPage(), "\n.B "+p.Name+"\n") {
			t.Errorf("%s is missing", p.Name)
		}
	}
}
