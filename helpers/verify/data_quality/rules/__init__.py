"""What the source says of its data, declared or seen: the material of `helpers.verify.data_quality`."""
