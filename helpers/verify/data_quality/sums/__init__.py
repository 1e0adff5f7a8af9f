"""What a business adds up, computed alike on both sides: the material of `helpers.verify.data_quality.figures`."""
