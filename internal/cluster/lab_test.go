//go:build lab

// This runs on a member of a cluster, as root:
//
//	go test -c -tags "lab,$TAGS" -o cluster.test ./internal/cluster
//	cluster.test -test.run Lab
package cluster

import (
	"context"
	"os"
	"testing"
	"time"

	"pgtwin/internal/ha"
)

// TestLabARecordOfALowerRankIsRefused writes for a database that there is not.
func TestLabARecordOfALowerRankIsRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	self, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c := New("none", "rank-test", self)
	read := func() View {
		t.Helper()
		v, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := read()
	epoch := func(number int) *ha.Epoch { return &ha.Epoch{Number: number, Node: self} }
	high := ha.PromotionRank(before.Rank)
	if err := c.Write(ctx, before, Record{Epoch: epoch(2), InSync: map[string]int{self: 2}, Rank: high}); err != nil {
		t.Fatal(err)
	}
	if v := read(); v.Rank != high || v.Epoch.Number != 2 {
		t.Errorf("rank %d, epoch %s after a record of rank %d", v.Rank, v.Epoch, high)
	}
	if err := c.Write(ctx, before, Record{Epoch: epoch(1), InSync: map[string]int{self: 1}, Rank: ha.RecordRank(before.Rank)}); err == nil {
		t.Error("a record of a lower rank is taken")
	}
	if v := read(); v.Rank != high || v.Epoch.Number != 2 {
		t.Errorf("rank %d, epoch %s after a record that was refused", v.Rank, v.Epoch)
	}
	if err := c.Write(ctx, before, Record{Rank: ha.KnownRank(high)}); err != nil {
		t.Error(err)
	}
	if v := read(); v.Rank != ha.KnownRank(high) || v.Epoch.Number != 2 {
		t.Errorf("rank %d, epoch %s after the rank alone was raised", v.Rank, v.Epoch)
	}
}
