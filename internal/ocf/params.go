package ocf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Params are the parameters of a request as the table wants them: every one has
// a valid value, be it its default, in one spelling.
type Params struct {
	values map[string]string
	given  map[string]bool
}

// Parameters validates the parameters of the request, all of them, so that one
// look shows every mistake. Names that the table does not have are a mistake in
// validate-all; elsewhere they are warnings, for a resource must not stop
// because of a parameter that nothing reads.
//
// The error is an ErrConfigured with one mistake a line. The Params are usable
// in spite of it: a wrong value has given way to the default.
func (r Request) Parameters() (p Params, warnings []string, err error) {
	p, wrong := ParseParams(r.Params)
	unknown := unknownNames(r.Params)
	if r.Action == "validate-all" {
		wrong = errors.Join(wrong, joined(unknown))
		unknown = nil
	}
	if wrong != nil {
		err = &Error{Code: ErrConfigured, Err: wrong}
	}
	return p, unknown, err
}

// ParseParams validates given values against the table, without regard to names
// that the table does not have. An empty value counts as not given. A value
// that is wrong is reported and replaced by the default.
func ParseParams(given map[string]string) (Params, error) {
	p := Params{values: map[string]string{}, given: map[string]bool{}}
	var wrong []error
	for _, param := range Table() {
		p.values[param.Name] = param.Default
		raw := strings.TrimSpace(given[param.Name])
		if raw == "" {
			continue
		}
		value, err := param.normal(raw)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", param.Name, err))
			continue
		}
		p.values[param.Name], p.given[param.Name] = value, true
	}
	return p, errors.Join(wrong...)
}

// Check says what is wrong with a value for the parameter called name, or nil.
// The name has to be one of the table; the error does not repeat it.
func Check(name, value string) error {
	_, err := row(name).normal(value)
	return err
}

// Default is the default of the parameter called name, which has to be one of
// the table.
func Default(name string) string { return row(name).Default }

// String is the value of a parameter in its one spelling: paths clean, lists
// separated by single blanks, booleans true or false. Asking for a name that the
// table does not have is a mistake in the program, and panics.
func (p Params) String(name string) string {
	value, found := p.values[name]
	if !found {
		panic("ocf: no parameter " + name)
	}
	return value
}

// Int is the value of an Integer, or of a String that holds a number; 0 where
// it is empty.
func (p Params) Int(name string) int64 {
	n, _ := strconv.ParseInt(p.String(name), 10, 64) // checked when parsed
	return n
}

// Bool is the value of a Boolean.
func (p Params) Bool(name string) bool { return p.String(name) == "true" }

// Given says whether the resource sets the parameter, to whatever value.
func (p Params) Given(name string) bool { return p.given[name] }

func row(name string) Parameter {
	table := Table()
	i := slices.IndexFunc(table, func(p Parameter) bool { return p.Name == name })
	if i < 0 {
		panic("ocf: no parameter " + name)
	}
	return table[i]
}

// normal is a value in its one spelling.
func (p Parameter) normal(value string) (string, error) {
	switch {
	case p.Type == Integer:
		return integer(value, p.Min, p.Max)
	case p.Type == Boolean:
		return boolean(value)
	case p.Type == Select && !slices.Contains(p.Options, value):
		return "", fmt.Errorf("%q is not one of %s", value, strings.Join(p.Options, ", "))
	case p.parse != nil:
		return p.parse(value)
	default:
		return value, nil
	}
}

// unknownNames says, sorted, which given names the table does not have.
func unknownNames(given map[string]string) []string {
	var known, unknown []string
	for _, p := range Table() {
		known = append(known, p.Name)
	}
	for name := range given {
		if !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Sprintf("%s: not a parameter of %s%s", name, agentName, DidYouMean(name, known)))
		}
	}
	slices.Sort(unknown)
	return unknown
}

func joined(lines []string) error {
	var errs []error
	for _, line := range lines {
		errs = append(errs, errors.New(line))
	}
	return errors.Join(errs...)
}
