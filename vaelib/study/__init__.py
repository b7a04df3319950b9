r"""What this chapter trains, measures and claims."""
