// Package e2e runs pgtwin where it belongs: on hosts with systemd, Corosync, Pacemaker, fencing and podman. Its tests are the
// scenarios; they need root and the build tag lab, and TestScenarios says in which order they are played:
//
//	go test -tags "$TAGS,lab" -count 1 -timeout 60m -v ./test/e2e/
//	go test -tags "$TAGS,lab" -run 'TestScenarios/containers/switchover' ./test/e2e/
//
// What a failed scenario leaves behind for its explanation is in the directory evidence; `make e2e` ends
// with a list of what failed and, in short, what the hosts did meanwhile.
package e2e
