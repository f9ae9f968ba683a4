"""The DVC stages: read, call meddet, write. One file per stage, named as the stage."""
