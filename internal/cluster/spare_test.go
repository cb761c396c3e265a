package cluster

import (
	"strings"
	"testing"
)

func TestSpare(t *testing.T) {
	c := New("postgres", "postgres-ha", "h1")
	tests := []struct {
		name, text string
		want       int
		wrong      string
	}{
		{"of this epoch", formatSpare(7, 2), 2, ""},
		{"of another epoch", formatSpare(6, 2), 0, ""},
		{"unreadable", "two", 0, `cannot read "two"`},
		{"with more than is known of", formatSpare(7, 2) + " of=3", 0, "cannot read"},
		{"negative", "epoch=7 spare=-1", 0, "cannot read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := attributeSet{ID: bootstrapSet}
			set.set(c.spareName(), tt.text)
			got, err := c.spare(&cib{Properties: []attributeSet{set}}, 7)
			if got != tt.want || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
	if got, err := c.spare(&cib{}, 7); got != 0 || err != nil {
		t.Errorf("without a record: %d, %v", got, err)
	}
}
