"""The assessment before a migration: the source, its workload, the targets' limits, and which path fits."""
