"""From detections to decisions: acceptance rules, zones of a part, bounds on misses, alarms, POD on a user's part."""
