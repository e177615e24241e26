"""What has to happen to a store so that it holds a tree. Pure."""

from provisioner.plan.planner import Action, Generate, Move, Plan, Share, plan

__all__ = ["Action", "Generate", "Move", "Plan", "Share", "plan"]
