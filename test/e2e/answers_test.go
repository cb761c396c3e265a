//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// sameAnswer checks that both hosts answer a question alike, and as expected at the end.
func sameAnswer(ctx context.Context, question, ending string, a, b *lab.Host) error {
	return sameAnswerIn(ctx, "postgres", question, ending, a, b)
}

// sameAnswerIn is sameAnswer in another database.
func sameAnswerIn(ctx context.Context, database, question, ending string, a, b *lab.Host) error {
	first, err := cluster.SQLIn(ctx, a, database, question)
	if err != nil {
		return err
	}
	second, err := cluster.SQLIn(ctx, b, database, question)
	if err != nil {
		return err
	}
	if first != second || !strings.HasSuffix(first, ending) {
		return fmt.Errorf("%s says %q, %s says %q, both should end in %q", a.Name(), first, b.Name(), second, ending)
	}
	return nil
}

// expect compares two values by their text.
func expect(what string, got, want any) error {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		return fmt.Errorf("%s is %q, want %q", what, g, w)
	}
	return nil
}

// mention checks that a text has all parts.
func mention(what, text string, parts ...string) error {
	var missing error
	for _, part := range parts {
		if !strings.Contains(text, part) {
			missing = errors.Join(missing, fmt.Errorf("%s does not mention %q:\n%s", what, part, text))
		}
	}
	return missing
}
