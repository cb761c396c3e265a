package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// adviseSettings names what of the administrator's settings is not in force, or takes from what commits
// promise.
func (h house) adviseSettings(ctx context.Context, conn *pg.Conn, found *survey) error {
	var lowered []string
	var err error
	if h.primary && ha.Mode(h.instance.RepMode) != ha.Async {
		lowered, err = conn.LoweredDurability(ctx)
	}
	identity, errIdentity := conn.OtherIdentity(ctx, h.instance.User)
	found.advice = slices.Concat(found.advice, lowered, identity)
	raised, errFiles := instance.Raised(h.instance, h.members)
	found.advice = append(found.advice, settingsAdvice(raised, h.pending)...)
	return errors.Join(err, errIdentity, errFiles)
}

// settingsAdvice says which settings are raised over the files', and which wait for a restart.
func settingsAdvice(raised []pg.Raised, pending []string) []string {
	var all []string
	waiting := slices.Clone(pending)
	for _, r := range raised {
		all = append(all, r.String())
		waiting = slices.DeleteFunc(waiting, func(name string) bool { return name == r.Name })
	}
	// With hot_standby=off this server was started once, by pgtwin.
	waiting = slices.DeleteFunc(waiting, func(name string) bool { return name == "hot_standby" })
	if len(waiting) > 0 {
		all = append(all, "changed, and in force only after a restart by Pacemaker (crm resource restart; a restart by pg_ctl counts as a failure): "+strings.Join(waiting, ", "))
	}
	return all
}

// slotAdvice names physical slots that are not pgtwin's and that no standby uses, for example those of an earlier cluster
// manager. Slots of pgtwin begin with prefix. The server has written WAL up to at; what it keeps for a slot ends there.
func slotAdvice(slots []ha.Slot, prefix string, at ha.LSN) []string {
	var all []string
	for _, slot := range slots {
		if !slot.Physical || slot.Active || slot.Lost || slot.Restart == 0 || strings.HasPrefix(slot.Name, prefix) {
			continue
		}
		kept := control.Size(max(0, int64(at)-int64(slot.Restart)))
		all = append(all, fmt.Sprintf("nobody uses the replication slot %[1]s, which is not pgtwin's, and PostgreSQL keeps %[2]s of WAL for it: "+
			"if its standby is gone, SELECT pg_drop_replication_slot('%[1]s')", slot.Name, kept))
	}
	return all
}
