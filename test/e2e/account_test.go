//go:build lab

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"pgtwin/test/lab"
)

// accountLimit is how many bytes of an account are noted with a failure: of a long output the end is what is seen, and it is
// short.
const accountLimit = 1500

// told is what tells the story of a cluster: what pgtwin says of itself, and how Pacemaker's actions ended. Monitors and
// notifications that went well are no part of it.
var told = map[string]*regexp.Regexp{
	"pgtwin-helper":      regexp.MustCompile(`.`),
	"pacemaker-execd":    regexp.MustCompile(`^ *(?:notice|warning|error): (.* (?:output|timed out|exit reason).*)$`),
	"pacemaker-controld": regexp.MustCompile(`^ *(?:notice|warning|error): (?:Result of (.* operation for .*)|(.*(?:error|timed out|Timed Out).*))$`),
	"pacemaker-fenced":   regexp.MustCompile(`^ *(?:notice|warning|error): (Operation .*)$`),
}

var uneventful = regexp.MustCompile(`^(?:monitor|notify) operation .*: (?:OK|Promoted)$`)

// account is what the hosts say happened since a moment, in a few lines.
func (s *scene) account(ctx context.Context, since time.Time) (string, error) {
	lines, err := s.c.Account(ctx, since)
	if err != nil {
		return "", err
	}
	return shorten(tell(lines, since), accountLimit), nil
}

// tell picks the lines that tell the story.
func tell(lines []lab.Line, since time.Time) []string {
	var story []string
	for _, l := range lines {
		pattern := told[l.From]
		if pattern == nil {
			continue
		}
		groups := pattern.FindStringSubmatch(l.Text)
		if groups == nil {
			continue
		}
		text := l.Text
		if len(groups) > 1 {
			text = strings.Join(groups[1:], "")
		}
		if !uneventful.MatchString(text) {
			story = append(story, fmt.Sprintf("%.1f %s %s", l.At.Sub(since).Seconds(), l.Host, text))
		}
	}
	return story
}

// shorten keeps the beginning of a story and its end.
func shorten(story []string, limit int) string {
	whole := strings.Join(story, "\n")
	if len(whole) <= limit {
		return whole
	}
	return whole[:limit*2/3] + " ...\n... " + whole[len(whole)-limit/3:]
}
