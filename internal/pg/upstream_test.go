package pg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgtwin/internal/ha"
)

func TestThePrimarySaysWhatWALItHas(t *testing.T) {
	t.Parallel()
	s := newServer(t, "upstream", template)
	c := s.start()
	ctx := t.Context()
	must(t, c.EnsureReplicationRole(ctx, replicator, secret))
	must(t, c.EnsureSlot(ctx, "ha_slot_b"))
	target := s.remote()
	target.Database = "postgres"
	first, err := AskPrimary(ctx, target)
	must(t, err)
	if first.Oldest == 0 || first.Oldest > first.Position || first.Oldest%(1<<20) != 0 || len(first.Slots) != 1 {
		t.Fatalf("%+v", first)
	}
	if slot := first.Slots[0]; slot.Name != "ha_slot_b" || !slot.Physical || slot.Active || slot.Failover || slot.Restart < first.Oldest {
		t.Errorf("slot %+v", slot)
	}

	// What a checkpoint removes is not there any more, and the slot is lost.
	s.settings.WALKeepSize, s.settings.MaxSlotWALKeepSize = 1, 1
	s.configure()
	must(t, c.Reload(ctx))
	for range 8 {
		c.must(t, "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()")
	}
	var now ha.Upstream
	eventually(t, "a checkpoint under the new settings", func() error { // the checkpointer loads them in its own time
		must(t, c.Checkpoint(ctx))
		now, err = AskPrimary(ctx, target)
		must(t, err)
		if slots := c.lookNow(t).Slots; now.Oldest <= first.Oldest || len(slots) != 1 || !slots[0].Lost {
			return fmt.Errorf("the oldest WAL was at %s, is at %s, slots %+v", first.Oldest, now.Oldest, slots)
		}
		return nil
	})
	if now.Oldest > now.Position {
		t.Errorf("the oldest WAL is at %s, the server at %s", now.Oldest, now.Position)
	}
	must(t, c.ReplaceSlot(ctx, "ha_slot_b"))
	if again := c.lookNow(t).Slots; len(again) != 1 || again[0].Lost || again[0].Restart < now.Oldest {
		t.Errorf("replaced by %+v", again)
	}

	c.must(t, "REVOKE EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) FROM "+replicator)
	if unknown, err := AskPrimary(ctx, target); err != nil || unknown.Oldest != 0 || unknown.Position == 0 {
		t.Errorf("without the right to look: %+v, %v", unknown, err)
	}
}

func TestSlotsOfAStandby(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	ctx := t.Context()
	must(t, cb.EnsureSlot(ctx, "a")) // for the primary, should it come back as a standby
	ca.must(t, "CREATE TABLE public.t (i int)")
	must(t, ca.Checkpoint(ctx))
	streaming(t, ca, cb)
	must(t, cb.Checkpoint(ctx))
	redo := cb.lookNow(t).Redo
	must(t, cb.AdvanceSlot(ctx, "a", redo))
	slot := cb.lookNow(t).Slots[0]
	if slot.Name != "a" || slot.Restart != redo {
		t.Fatalf("%+v, want it at %s", slot, redo)
	}

	// The primary crashes with WAL that nobody has, and is rewound: all it needs is there.
	must(t, cb.Promote(ctx))
	ca.must(t, "INSERT INTO public.t VALUES (1)")
	a.crash()
	b.settings.WALKeepSize = 1
	b.configure()
	must(t, cb.Reload(ctx))
	for range 8 {
		cb.must(t, "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()")
		must(t, cb.Checkpoint(ctx))
	}
	source := b.remote()
	source.PassFile = a.passfile
	run(t, Rewind(a.data, source, a.conf+"/postgresql.conf", false))
	a.follow(b)
	a.settings.Slot = "a"
	streaming(t, cb, a.start())
	eventually(t, "the slot to be used", func() error {
		if s := cb.lookNow(t).Slots; !slices.ContainsFunc(s, func(s ha.Slot) bool { return s.Name == "a" && s.Active && !s.Lost }) {
			return fmt.Errorf("slots %+v", s)
		}
		return nil
	})
}

func TestWhetherWALMayComeFromAnArchive(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                false,
		"#restore_command = ''":           false,
		"archive_command = 'true'":        false,
		"  Restore_Command='cp /a/%f %p'": true,
		"include_dir 'conf.d'":            true, // which may have one
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "postgresql.conf"), []byte(text+"\n"), 0o600))
		if got := MayRestore(dir); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestAStandbyWhoseWALIsGoneAsksInVain(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	b.stop()
	left := ca.lookNow(t).Written
	a.settings.WALKeepSize, a.settings.MaxSlotWALKeepSize = 1, 1
	a.configure()
	must(t, ca.Reload(t.Context()))
	for range 8 {
		ca.must(t, "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()")
	}
	upstream := a.remote()
	upstream.Database = "postgres"
	eventually(t, "the removal of old WAL", func() error { // the checkpointer may not have loaded the settings at once
		must(t, ca.Checkpoint(t.Context()))
		primary, err := AskPrimary(t.Context(), upstream)
		must(t, err)
		if primary.Oldest <= left {
			return fmt.Errorf("the primary has WAL from %s, the standby up to %s", primary.Oldest, left)
		}
		return nil
	})
	must(t, ca.ReplaceSlot(t.Context(), "b"))

	cb = b.start()
	eventually(t, "the standby's questions", func() error {
		look, slots := cb.lookNow(t), ca.lookNow(t).Slots
		primary, err := AskPrimary(t.Context(), upstream)
		must(t, err)
		if !look.AwaitsWAL || max(look.Received, look.Replayed) >= primary.Oldest || len(slots) != 1 {
			return fmt.Errorf("%+v, slots %+v, the primary has WAL from %s", look, slots, primary.Oldest)
		}
		// With what it says of itself its old position gets into the slot, until a checkpoint.
		if slots[0].Lost {
			t.Errorf("%+v would be made anew again and again", slots[0])
		}
		return nil
	})
}
