package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLessonsNameTestsThatExist reads docs/lessons.md: a test that is renamed or removed takes its lesson with it.
func TestLessonsNameTestsThatExist(t *testing.T) {
	code := testCode(t)
	lessons, err := os.ReadFile("../docs/lessons.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, name := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(string(lessons), -1) {
		named++
		if !strings.Contains(code, "func "+name[1]+"(t *testing.T)") {
			t.Errorf("there is no %s", name[1])
		}
	}
	for _, name := range regexp.MustCompile("scenario `([^`]+)`").FindAllStringSubmatch(string(lessons), -1) {
		named++
		text, direction, _ := strings.Cut(name[1], ", ")
		if !strings.Contains(code, `"`+name[1]+`"`) && (direction == "" || !strings.Contains(code, `"`+text+`, "`)) {
			t.Errorf("there is no scenario %q", name[1])
		}
	}
	if named < 40 {
		t.Errorf("only %d tests are named: has the form of the page changed?", named)
	}
}

// testCode is the text of all tests, and of the events that the scenarios play.
func testCode(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		event := strings.Contains(path, "test/e2e/event/") && strings.HasSuffix(path, ".go")
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") && !event {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
