package pg

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Raised is a setting with which the server starts although the administrator's files say less.
type Raised struct {
	Name   string
	Wanted string // what the files say, or PostgreSQL's default
	Where  string // the file and line; "" for the default
	Value  string // with which the server starts
	Why    string
	// Lowering says that pg_control alone keeps the value up: the administrator has lowered it.
	Lowering bool
}

// String is the difference in one sentence.
func (r Raised) String() string {
	return fmt.Sprintf("%s: %s, %s is in force: %s", r.Name, r.says(), r.Value, r.Why)
}

// comment is the reason for a configuration file, where a line ends the comment.
func (r Raised) comment() string {
	return strings.Join(strings.Fields("Your files say less: "+r.Why+"."), " ")
}

func (r Raised) says() string {
	if r.Where == "" {
		return "PostgreSQL's default is " + r.Wanted
	}
	return fmt.Sprintf("%s says %.40q", r.Where, r.Wanted)
}

// What pgtwin needs of a server that may become the primary.
const (
	// sendersPerPeer are a peer's walsenders: a clone takes two (pg_basebackup copies the data and streams
	// the WAL), and the one of a connection that broke stays for wal_sender_timeout.
	sendersPerPeer = 3
	// sendersForBackup are for the administrator's own pg_basebackup.
	sendersForBackup = 2
	// workers is for the logical replication launcher, without which every start complains.
	workers = 1
	// slotsForBackup are the temporary slots of a peer's clone and of the administrator's backup.
	slotsForBackup = 2
)

// Needs are the least values with which a server of a cluster works.
type Needs struct {
	Peers    int // other hosts of the cluster
	Slots    int // replication slots in the data directory: without room for them PostgreSQL does not start
	Logical  int // how many of them are logical
	Prepared int // max_prepared_transactions that the data may need; 0: none
}

// FindNeeds looks into a data directory with this control file, whose server is stopped or running.
func FindNeeds(pgdata string, peers int, c Control) (Needs, error) {
	n := Needs{Peers: peers, Prepared: preparedTransactions(pgdata, c)}
	entries, err := os.ReadDir(filepath.Join(pgdata, "pg_replslot"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, fmt.Errorf("cannot count the replication slots: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasSuffix(entry.Name(), ".tmp") {
			continue
		}
		n.Slots++
		if logicalSlot(filepath.Join(pgdata, "pg_replslot", entry.Name(), "state")) {
			n.Logical++
		}
	}
	return n, nil
}

// logicalSlot says whether a slot's file names a database (ReplicationSlotOnDisk of slot.c: four words,
// then 64 bytes of name, then the database's OID).
func logicalSlot(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false // PostgreSQL complains of it
	}
	defer f.Close()
	var head [84]byte
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return false
	}
	return [4]byte(head[80:]) != [4]byte{}
}

// preparedTransactions counts those in a data directory. It can after a clean stop as a primary, whose
// checkpoint writes each of them to a file (CheckPointTwoPhase): else there are as many as the WAL allows.
func preparedTransactions(pgdata string, c Control) int {
	if c.State != ShutDown {
		return c.Required.MaxPreparedTransactions
	}
	entries, err := os.ReadDir(filepath.Join(pgdata, "pg_twophase"))
	if err != nil {
		return c.Required.MaxPreparedTransactions
	}
	return len(entries)
}

// counted is one of the settings that are numbers: PostgreSQL's default, what the WAL that is here
// requires, and what pgtwin needs.
type counted struct {
	name                    string
	initial, required, need int
}

func countedSettings(c Control, n Needs) []counted {
	r := c.Required
	return []counted{
		{"max_connections", 100, r.MaxConnections, 0},
		{"max_locks_per_transaction", 64, r.MaxLocksPerTransaction, 0},
		{"max_prepared_transactions", 0, r.MaxPreparedTransactions, n.Prepared},
		{"max_replication_slots", 10, 0, n.Slots + n.Peers + slotsForBackup},
		{"max_wal_senders", 10, r.MaxWALSenders, n.Peers*sendersPerPeer + sendersForBackup},
		{"max_worker_processes", 8, r.MaxWorkerProcesses, workers},
	}
}

// Raise lists the settings for which a hot standby on these data takes more than the files say: what
// pg_control requires, and what pgtwin needs.
func Raise(files ConfFiles, c Control, n Needs) []Raised {
	var all []Raised
	for _, s := range countedSettings(c, n) {
		if r, raised := s.raise(files); raised {
			all = append(all, r)
		}
	}
	return append(all, raiseLevel(files, n)...)
}

// RaiseNeeded is Raise for a server with hot_standby=off, which compares nothing with pg_control.
func RaiseNeeded(files ConfFiles, n Needs) []Raised { return Raise(files, Control{}, n) }

// Lowerings are those of all that wait for a start with hot_standby=off.
func Lowerings(all []Raised) []Raised {
	return slices.DeleteFunc(slices.Clone(all), func(r Raised) bool { return !r.Lowering })
}

func (s counted) raise(files ConfFiles) (Raised, bool) {
	wanted, value := s.initial, files.Values[s.name]
	r := Raised{Name: s.name, Wanted: strconv.Itoa(wanted)}
	readable := true
	if value.Line > 0 {
		wanted, readable = parseCount(value.Text)
		r.Wanted, r.Where = value.Text, fmt.Sprintf("%s, line %d,", value.File, value.Line)
	}
	least := max(s.required, s.need)
	// With an error in the files PostgreSQL may be given the last good copies of them.
	unsure := !readable || len(files.Problems) > 0 && s.required > 0
	if least == 0 || wanted >= least && !unsure {
		return Raised{}, false
	}
	r.Value = strconv.Itoa(least)
	r.Lowering = readable && len(files.Problems) == 0 && !files.Accepted && max(wanted, s.need) < s.required
	switch {
	case r.Lowering:
		r.Why = "the WAL here was written with as many, and a standby with fewer cannot replay it; fewer come into use when all hosts " +
			"are restarted together (crm resource restart) and this one, as the last primary, is promoted again"
	case s.need >= s.required && s.need > 0:
		r.Why = fmt.Sprintf("the cluster needs as many (%s)", s.purpose())
	default:
		r.Why = "the WAL here was written with as many, and a standby with fewer cannot replay it"
	}
	return r, true
}

func (s counted) purpose() string {
	switch s.name {
	case "max_wal_senders":
		return fmt.Sprintf("%d for each other host and %d for a backup", sendersPerPeer, sendersForBackup)
	case "max_replication_slots":
		return "those that exist, one for each other host and two for backups"
	case "max_prepared_transactions":
		return "there may be as many prepared transactions"
	}
	return "the logical replication launcher"
}

// raiseLevel keeps wal_level where replication, and the logical slots that are there, need it: with
// less PostgreSQL does not start (StartupReplicationSlots).
func raiseLevel(files ConfFiles, n Needs) []Raised {
	value := files.Values["wal_level"]
	r := Raised{Name: "wal_level", Wanted: cmp.Or(value.Text, "replica"), Value: "replica", Why: "a standby needs it"}
	if value.Line > 0 {
		r.Where = fmt.Sprintf("%s, line %d,", value.File, value.Line)
	}
	level := strings.ToLower(strings.TrimSpace(r.Wanted))
	if n.Logical > 0 && level != "logical" {
		r.Value, r.Why = "logical", fmt.Sprintf("there are %d logical replication slots, with which PostgreSQL starts at no lower level; drop them first", n.Logical)
		return []Raised{r}
	}
	if level == "minimal" {
		return []Raised{r}
	}
	return nil
}

// parseCount reads a number as PostgreSQL does (parse_int of guc.c): decimal, octal, hexadecimal, or a
// fraction that is rounded.
func parseCount(text string) (n int, ok bool) {
	text = strings.TrimSpace(text)
	if whole, err := strconv.ParseInt(text, 0, 32); err == nil && !strings.ContainsAny(text, "_oObB") {
		return int(whole), true
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(value) > math.MaxInt32 || strings.ContainsAny(text, "_xXpPnN") {
		return 0, false
	}
	return int(math.RoundToEven(value)), true
}
