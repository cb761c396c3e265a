package control

import (
	"os"
	"path/filepath"
	"testing"

	"pgtwin/internal/ha"
)

func TestTheLatestEpochIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "epoch")
	if epoch, err := ReadEpoch(path); err != nil || epoch.Number != 0 {
		t.Errorf("before the first: %v, %v", epoch, err)
	}
	for number := 1; number < 3; number++ {
		want := ha.Epoch{Number: number, System: 1, Timeline: 2, Highest: 2, Switch: 0x3000060, Node: "h1"}
		if err := WriteEpoch(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadEpoch(path); err != nil || got != want {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("what is left: %v, %v", files, err)
	}
}
