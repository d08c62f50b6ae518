"""Makes the starter checkpoint: from rated sentences and a made-up world to committed weights and their figures."""
