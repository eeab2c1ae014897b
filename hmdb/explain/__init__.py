"""Attribution maps, their faithfulness, and the attention of single patches."""
