"""What several tests share: real servers, real processes."""
