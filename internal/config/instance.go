// Package config knows the settings of an instance: it reads pgtwin.toml, lays
// the OCF parameters over it and validates the whole, and it knows where an
// instance keeps its files. It refuses to look at the host, the cluster or the
// database: whether a path exists or an address answers is for others to say.
package config

import (
	"log/slog"
	"time"
)

// Instance is one database as validated: the OCF parameters over pgtwin.toml
// over the defaults. The agent renders it to /run/pgtwin/NAME/instance.toml;
// helper and supervisor read nothing else.
type Instance struct {
	Name     string // container_name; also the instance of the systemd units
	Resource string // id of the Pacemaker resource, without ":N"
	Node     string // this cluster node

	PGData          string // absolute and clean
	Port            int
	User            string   // owner of the server process and database superuser (pguser)
	ApplicationName string   // this node's name in replication; ApplicationNameOf has the others'
	ApplicationBase string   // application_name as given; "" = the names of the nodes
	RepMode         string   // sync, async or strict
	Nodes           []string // node_list; empty: the nodes of the cluster
	PassFile        string
	BinDir          string // host mode: directory of postgres, initdb, ...
	SocketDir       string // of PostgreSQL's Unix socket
	VIP             string

	ContainerMode bool
	Runtime       string // auto, podman or docker
	Image         string // as registry/name:tag or with a digest
	MajorVersion  int    // 0: not stated

	BackupBeforeBasebackup      bool
	BasebackupTimeout           time.Duration
	SlotName                    string // prefix of the per-peer slots
	MaxSlotWALKeepSize          int    // MB, 0: no limit
	ReplicationFailureThreshold int
	MaxPromotionLagBytes        int64 // -1: no limit
	ForcePromotion              bool

	SyncTimeout       time.Duration     // how long commits wait for a lost standby once relaxing is safe
	Addresses         map[string]string // node name to replication address, where the name does not do
	BasebackupMaxRate int64             // bytes per second that a clone reads from the primary, 0: no limit
	KeepReplaced      int               // how many replaced copies of the data stay; 0 unless BackupBeforeBasebackup
	ContainerDirs     []string          // mounted into containers beside the data directory, absolute and clean
	ShmSize           int64             // bytes of /dev/shm in a container
	HTTPListen        string            // TCP address of the status service, "" = unix socket only
	StopTimeout       time.Duration     // fast shutdown, then immediate, then SIGKILL within this time
	WALKeepSize       int64             // bytes of WAL kept on every node besides the slots, for pg_rewind
	LostKeep          int64             // bytes of WAL kept aside of what a rewind or clone discards, 0: none
	LogLevel          slog.Level        // of pgtwin, not of PostgreSQL
	Limits            Limits

	// AcceptCollationChange lets the database start with programs that sort text differently.
	AcceptCollationChange bool
}
