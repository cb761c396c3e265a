package instance

import (
	"context"
	"fmt"
	"log/slog"

	"pgtwin/internal/config"
	"pgtwin/internal/runtime"
)

// Pull fetches the instance's image, ahead of the start that needs it.
func Pull(ctx context.Context, i config.Instance, log *slog.Logger) error {
	if !i.ContainerMode {
		return fmt.Errorf("instance %s runs the host's PostgreSQL: there is nothing to pull", i.Name)
	}
	r, err := openRuntime(ctx, i, log)
	if err != nil {
		return err
	}
	defer r.Close()
	image, err := runtime.Pull(ctx, r, i.Image)
	if err != nil {
		return err
	}
	log.Info("image is present", "image", i.Image, "id", image.ID, "digest", image.Digest)
	return nil
}
