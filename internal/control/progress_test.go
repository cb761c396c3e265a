package control

import "testing"

func TestAmount(t *testing.T) {
	const mb = 1 << 20
	for want, p := range map[string]Progress{
		"":                        {Phase: PhaseWaiting},
		"3.0 MB":                  {Done: 3 * mb},
		"1.0 MB of 4.0 MB (25 %)": {Done: mb, Total: 4 * mb},
		"500 MB of 2.0 GB (24 %), 50.0 MB/s, 31s left":        {Done: 500 * mb, Total: 2048 * mb, Rate: 50 * mb},
		"5.0 MB of 4.0 MB (100 %), 1.0 MB/s":                  {Done: 5 * mb, Total: 4 * mb, Rate: mb},
		"1.0 TB of 8.0 TB (12 %), 1.0 MB/s, 2038h53m52s left": {Done: 1 << 40, Total: 8 << 40, Rate: mb},
	} {
		if got := p.Amount(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 kB", 200 << 10: "200 kB", 25 << 30: "25.0 GB", 5 << 50: "5120 TB",
	} {
		if got := Size(bytes); got != want {
			t.Errorf("%d: %q, want %q", bytes, got, want)
		}
	}
}
